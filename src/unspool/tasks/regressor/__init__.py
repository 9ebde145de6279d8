"""Regressors: they tell a number, or several, of a sequence."""
