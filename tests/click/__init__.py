"""Tests of pbxrouter.click."""
