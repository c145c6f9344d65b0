"""Tests of pbxrouter.call."""
