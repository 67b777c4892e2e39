"""Image files, colour, resizing and quality measures, shared by the commands and the models."""
