"""Classifiers: the zoo, released and own weights in fixed point, and compression."""
