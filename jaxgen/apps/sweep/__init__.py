"""``--mode=sweep``: train a model with each of several settings and seeds, and report which setting is best."""
