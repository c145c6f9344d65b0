"""Tests of pbxrouter.drivers."""
