"""Calls that begin with the gateway."""
