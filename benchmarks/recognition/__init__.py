"""Measurements of classifiers: networks, compression, binary and adaptive computation."""
