"""What lets programs written for other libraries run on ours; each in a module of its own."""
