"""Tests of pbxrouter.web.console."""
