"""Tests of pbxrouter.agi."""
