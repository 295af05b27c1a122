"""``--mode=benchmark``: measure jaxgen against PyTorch with the same networks, weights, batches and optimizer."""
