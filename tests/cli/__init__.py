"""Tests of pbxrouter.cli."""
