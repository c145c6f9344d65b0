"""Tests of pbxrouter.web.now."""
