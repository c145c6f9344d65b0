"""The live dashboard: snapshot, event stream, graphs."""
