"""Numba kernels. They know arrays and integers, nothing of graphs or ops."""
