"""The FastAGI server: Asterisk connects to it, one connection for each AGI run."""
