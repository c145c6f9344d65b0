"""Click-to-dial links in the database."""
