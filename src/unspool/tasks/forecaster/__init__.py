"""Forecasting: what comes next in a series."""
