"""Tests of pbxrouter.security."""
