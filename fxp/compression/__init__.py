"""Networks made smaller before they are quantized: pruning, shared weights, factors of layers."""
