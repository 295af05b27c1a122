"""State, compiled step, loop, checkpoints, preemption, metrics, previews: what every model method shares."""
