"""Sets of images to evaluate: folders, ``.npz`` files, data sets and arrays."""
