"""Tests of pbxrouter.simulator."""
