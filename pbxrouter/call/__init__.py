"""One call's conversation, and what is kept of it."""
