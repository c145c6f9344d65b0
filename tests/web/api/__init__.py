"""Tests of pbxrouter.web.api."""
