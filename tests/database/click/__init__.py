"""Tests of pbxrouter.database.click."""
