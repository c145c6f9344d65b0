"""The history of calls in the database."""
