"""Tests of pbxrouter.control."""
