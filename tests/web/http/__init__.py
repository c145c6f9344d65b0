"""Tests of pbxrouter.web.http."""
