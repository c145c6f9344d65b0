"""Tests of pbxrouter.compat."""
