"""Tests of pbxrouter.web."""
