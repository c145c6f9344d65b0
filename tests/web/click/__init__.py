"""Tests of pbxrouter.web.click."""
