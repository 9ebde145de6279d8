"""Files → sequences → batches. NumPy only."""
