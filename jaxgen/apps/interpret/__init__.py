"""What a trained network's channels answer to, and what they cause."""
