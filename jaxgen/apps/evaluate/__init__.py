"""``--mode=evaluate``: compute metrics of a trained model, or of any two sets of images."""
