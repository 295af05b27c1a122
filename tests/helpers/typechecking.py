"""Checks of types and shapes at every call; an int is a float, as for type checkers (PEP 484)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
