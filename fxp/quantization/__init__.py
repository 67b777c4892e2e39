"""From a float graph to an integer graph: calibration, lowering, search, refinement, training."""
