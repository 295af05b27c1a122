"""The protection of the page: which requests it accepts, and how much each visitor may ask for."""
