"""``--mode=edit``: change an image with a trained diffusion model."""
