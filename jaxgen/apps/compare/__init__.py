"""``--mode=compare``: evaluate several trained models under one protocol, and show the results on one page."""
