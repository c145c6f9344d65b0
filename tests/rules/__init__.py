"""Tests of pbxrouter.rules."""
