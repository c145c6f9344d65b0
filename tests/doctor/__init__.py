"""Tests of pbxrouter.doctor."""
