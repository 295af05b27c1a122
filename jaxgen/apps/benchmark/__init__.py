"""Steps per second beside PyTorch: the same networks, weights, batches and optimiser on both sides."""
