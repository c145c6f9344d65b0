"""Tests of pbxrouter.adapters."""
