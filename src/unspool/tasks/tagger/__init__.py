"""Taggers: they tell the tag of each step of a sequence."""
