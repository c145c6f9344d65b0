"""HTTP itself: ports, bounds, headers, host check, streaming."""
