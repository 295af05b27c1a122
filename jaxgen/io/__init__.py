"""Files: atomic writes, images, tensors, hashes, downloads. No other part of jaxgen is imported."""
