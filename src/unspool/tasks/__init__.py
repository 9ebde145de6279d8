"""One estimator a file: what the data is, which loss, which metric, which baseline."""
