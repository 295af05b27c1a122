"""Charts and pages that several modes share."""
