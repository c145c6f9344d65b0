"""Tests of pbxrouter.text."""
