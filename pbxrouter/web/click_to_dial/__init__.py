"""Click-to-dial: attempts, limits, numbers."""
