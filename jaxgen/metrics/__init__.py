"""Metrics of generated images: arrays in, numbers out."""
