"""The error that a user can mend."""


class UserError(Exception):
    """One sentence that names the field or file at fault and the way out; main.py prints it and exits with 2."""
