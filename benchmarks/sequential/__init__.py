"""Recognition by features: the sequential decision beside other ways to find neighbours."""
