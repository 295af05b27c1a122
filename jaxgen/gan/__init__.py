"""The mathematics of adversarial training: pure functions of arrays."""
