"""Classifiers: what compression costs and gains."""
