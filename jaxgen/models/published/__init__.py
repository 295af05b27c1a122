"""Networks that are used with published weights, as the metrics do: Inception and DINOv2."""
