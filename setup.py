"""For tools that still ask for a setup.py. Everything is said in pyproject.toml."""

from setuptools import setup

setup()
