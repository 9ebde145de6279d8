"""What lies on the disk of a trained network, read and written without PyTorch."""
