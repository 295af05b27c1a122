"""``--mode=interpret``: find the channels that respond to a class, and show what they do."""
