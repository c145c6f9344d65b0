"""Tests. test_<module>.py mirrors pbxrouter/<module>.py; tests/asterisk/ needs the lab's real Asterisk."""
