"""Deblurring of photographs of moving scenes: DeepDeblur, its training and trained weights."""
