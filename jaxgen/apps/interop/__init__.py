"""Import and export weights without PyTorch: folders of diffusers, and state dicts of the PyTorch tutorial's DCGAN."""
