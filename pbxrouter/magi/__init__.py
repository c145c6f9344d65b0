"""MAGI: calls in AGI(agi:async), driven over AMI."""
