"""What every room uses and that knows nothing of numbers: errors, files, late imports."""
