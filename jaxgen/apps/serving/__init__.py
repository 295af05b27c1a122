"""What stands between the visitors of a page and the page: which requests pass, and how much each visitor may ask for."""
