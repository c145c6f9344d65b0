"""Tests of pbxrouter.fastagi."""
