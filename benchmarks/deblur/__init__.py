"""Deblurring: quality in float and fixed point, and the published network at 1280x720."""
