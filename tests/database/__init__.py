"""Tests of pbxrouter.database."""
