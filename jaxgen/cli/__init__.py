"""The command line: flags, config files and modes."""
