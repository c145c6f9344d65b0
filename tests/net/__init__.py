"""Tests of pbxrouter.net."""
