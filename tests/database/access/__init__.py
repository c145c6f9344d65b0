"""Tests of pbxrouter.database.access."""
