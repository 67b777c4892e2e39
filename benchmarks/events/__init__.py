"""Networks for events on real recordings: quality, drift, time and memory."""
