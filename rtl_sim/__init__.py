"""Co-simulation of emitted hardware. Nothing is here yet: see the limits in the README."""
