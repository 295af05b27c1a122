"""Diffusion as a method: network, objective, sampler and optimizer together."""
