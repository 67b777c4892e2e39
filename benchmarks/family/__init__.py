"""Super-resolution for every device: quality against hardware, factors, JPEG qualities, flicker.

``python -m benchmarks.family --data DIR`` measures and publishes.
"""
