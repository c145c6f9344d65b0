"""Tests of pbxrouter.database.audit_triggers; what the triggers write is tested in tests.database.audit."""
