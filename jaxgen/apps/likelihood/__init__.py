"""The bound on the likelihood of images: ``--mode=likelihood``."""
