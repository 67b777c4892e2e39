"""How fast the engine is, against float frameworks and other fixed-point tools.

``python -m benchmarks.speed`` measures and publishes; ``--quick`` tries the script on tiny sizes.
"""
