"""Train a model within a few minutes on one accelerator: ``python -m jaxgen.cli.flagship``."""
