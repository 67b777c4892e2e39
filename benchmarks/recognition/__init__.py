"""Classifiers: the zoo in fixed point, and what fixed point costs released and own weights."""
