"""StarPy's FastAGI interface over ours: handlers written for StarPy run on our server.

A program changes one line, its import. Either of these will do::

    from pbxrouter.compat.starpy import fastagi      # for: from starpy import fastagi
    from pbxrouter.compat import starpy as fastagi

``python -m pbxrouter.compat.starpy PROGRAM`` runs one without even that change. Names,
arguments, results and failures are StarPy's; quoting, framing and hang-ups are ours
(docs/starpy.md tells the differences). No text of StarPy's is in here.
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
