"""On the path of a process that a test starts, this stands for TensorFlow's absence, which spares it seconds."""

raise ImportError('left out')
