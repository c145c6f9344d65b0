"""Tests of pbxrouter.ami."""
