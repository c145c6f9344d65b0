"""PINs, tokens, passwords, roles and rate limits."""
