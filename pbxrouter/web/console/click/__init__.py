"""The click-to-dial pages."""
