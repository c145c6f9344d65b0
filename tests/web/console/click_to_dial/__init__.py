"""Tests of pbxrouter.web.console.click_to_dial."""
