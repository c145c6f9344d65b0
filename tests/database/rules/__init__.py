"""Tests of pbxrouter.database.rules."""
