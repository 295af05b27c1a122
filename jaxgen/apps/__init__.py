"""What the modes of the command line do: one module or package each."""
