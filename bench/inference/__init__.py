"""Parts of the benches of the network: the GPU, the published peers, the INT8 form."""
