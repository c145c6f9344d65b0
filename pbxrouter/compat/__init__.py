"""Compatibility layers: programs written for another library run on pbxrouter."""
