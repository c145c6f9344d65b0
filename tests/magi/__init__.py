"""Tests of pbxrouter.magi."""
