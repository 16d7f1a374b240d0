"""How the course is run, rendered and compared. No notebook imports it."""
