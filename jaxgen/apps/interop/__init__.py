"""Import and export weights without PyTorch: folders of diffusers, and state dicts of two GANs."""
