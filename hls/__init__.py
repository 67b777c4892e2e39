"""Emitting hardware from an integer graph. Nothing is here yet: see the limits in the README."""
