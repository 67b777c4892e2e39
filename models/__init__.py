"""Reference networks of fxp: floating-point definitions, training code and trained weights."""
