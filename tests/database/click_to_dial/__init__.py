"""Tests of pbxrouter.database.click_to_dial."""
