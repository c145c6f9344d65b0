"""Tests of pbxrouter.counter."""
