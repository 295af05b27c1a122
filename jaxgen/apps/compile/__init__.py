"""``--mode=compile``: compile for a TPU slice without having one, and report memory, work and time."""
