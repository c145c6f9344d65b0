"""The rules in the database: loading, listing, editing."""
