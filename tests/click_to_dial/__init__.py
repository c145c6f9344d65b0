"""Tests of pbxrouter.click_to_dial."""
