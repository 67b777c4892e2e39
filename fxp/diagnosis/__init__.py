"""Where a quantized network loses precision, why, and what to change."""
