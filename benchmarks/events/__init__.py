"""Quality of released networks for events on real recordings, in float and in fixed point."""
