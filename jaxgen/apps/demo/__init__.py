"""``--mode=demo``: a page in the browser on which trained models sample, edit and are compared."""
