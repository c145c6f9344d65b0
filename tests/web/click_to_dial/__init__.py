"""Tests of pbxrouter.web.click_to_dial."""
