"""Models on the Hugging Face Hub: the exported folder with its card, and its upload."""
