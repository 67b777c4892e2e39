"""torchvision's classification networks: which quantize, how well, and how fast."""
