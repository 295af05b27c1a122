"""``--mode=demo``: a page in the browser over trained models."""
