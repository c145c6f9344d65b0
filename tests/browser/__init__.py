"""Tests of the console in Debian's Chromium, as a person would use it; skipped where that is missing."""
