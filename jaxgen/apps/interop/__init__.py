"""Weights in and out, without PyTorch: diffusers' folders, and the state dicts of the PyTorch tutorial's DCGAN."""
