"""The AGI protocol of one call, the same for FastAGI and AsyncAGI."""
