"""The fault table: faults of the gateway, of Asterisk and of what is between them, and what became of the calls."""
