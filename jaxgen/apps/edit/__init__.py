"""``--mode=edit``: images from images by a trained diffusion model."""
