"""Small Twisted tools: timers, listening ports, the file limit."""
