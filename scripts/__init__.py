"""Programs for those who work on pbxrouter; none of this is installed."""
