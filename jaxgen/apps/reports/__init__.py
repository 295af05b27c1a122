"""Charts and parts of pages that several modes share."""
