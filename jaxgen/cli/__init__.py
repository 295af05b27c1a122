"""The command line: flags, modes, errors as one sentence."""
