"""A saved network as an ONNX graph."""
