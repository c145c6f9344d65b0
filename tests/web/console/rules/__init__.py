"""Tests of pbxrouter.web.console.rules."""
