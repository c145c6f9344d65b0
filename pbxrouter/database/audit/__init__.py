"""The audit log of changes, and undoing them."""
