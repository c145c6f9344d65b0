"""StarPy's FastAGI interface: handlers written for StarPy run on pbxrouter's server.

A program changes one line, its import. Either of these will do::

    from pbxrouter.compat.starpy import fastagi      # for: from starpy import fastagi
    from pbxrouter.compat import starpy as fastagi

``python -m pbxrouter.compat.starpy PROGRAM`` runs a program without that change. Names,
arguments, results and failures are StarPy's; quoting, framing and hang-ups are pbxrouter's
(docs/starpy.md lists the differences). This package contains no code of StarPy's.
"""

from pbxrouter.compat.starpy import error, fastagi, manager
from pbxrouter.compat.starpy.error import AGICommandFailure, AMICommandFailure
from pbxrouter.compat.starpy.fastagi import FAILURE_CODE, FastAGIFactory, FastAGIProtocol, InSequence, log

__all__ = [
    "FAILURE_CODE",
    "AGICommandFailure",
    "AMICommandFailure",
    "FastAGIFactory",
    "FastAGIProtocol",
    "InSequence",
    "error",
    "fastagi",
    "log",
    "manager",
]
