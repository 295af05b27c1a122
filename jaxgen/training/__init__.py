"""State, compiled step, loop, checkpoints, preemption, metrics, previews: what every model family shares."""
