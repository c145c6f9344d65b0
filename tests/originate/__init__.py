"""Tests of pbxrouter.originate."""
