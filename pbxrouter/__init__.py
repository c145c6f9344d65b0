"""pbxrouter: a call router for Asterisk, on Twisted."""

__version__ = "0.1.0"
