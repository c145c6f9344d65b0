"""A stand-in for StarPy: the public methods that pbxrouter/adapters uses, and the faults that it mends.

It is written for the tests, from StarPy's behaviour; none of StarPy's text is in it. Where StarPy is
installed, test_starpy_itself holds the same conversations over both and compares names and signatures.
"""

from tests.adapters.starpy_stand_in import error, fastagi, manager

__all__ = ["error", "fastagi", "manager"]
