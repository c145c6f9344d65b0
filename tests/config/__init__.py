"""Tests of pbxrouter.config."""
