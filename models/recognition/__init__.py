"""Recognition: classifiers of pictures, their training, and their models in fixed point."""
