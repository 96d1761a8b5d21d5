"""Training of the network: annotated sequences to weights."""
