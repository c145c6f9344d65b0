"""Console users, their sessions, API tokens."""
