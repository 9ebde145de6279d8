"""Classifiers: they tell to which class a sequence belongs."""
