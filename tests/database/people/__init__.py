"""Tests of pbxrouter.database.people."""
