"""Several trained models under one protocol, on one page."""
