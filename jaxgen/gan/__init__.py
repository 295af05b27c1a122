"""The mathematics of adversarial training: arrays and functions in, arrays out."""
