"""Tests of pbxrouter.workshop."""
