"""Tests of pbxrouter.gateway."""
