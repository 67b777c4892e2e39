"""What streaming cores need on FPGAs, and how fast they are."""
