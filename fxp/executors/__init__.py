"""The reference executors: the oracle that defines every result, and the forward pass in torch."""
