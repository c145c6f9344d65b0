"""Tests of pbxrouter.web.api.resources."""
