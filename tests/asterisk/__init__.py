"""Tests against a real Asterisk: the lab's, with sipp's phones. They need root; see harness."""
