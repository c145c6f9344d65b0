"""Click-to-dial values: opening hours and signed links."""
