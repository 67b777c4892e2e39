"""Which combinations of hls4ml are exact, and how fast its C simulation is."""
