"""Tests of pbxrouter.web.console.click."""
