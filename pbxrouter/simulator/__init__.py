"""Asterisk's side of a FastAGI call, without Asterisk: for `pbxrouter call` and for tests.

`SimulatedCall` is what Asterisk knows of the call (the environment it sends), `Script` is what the people and
the network do during it (keys pressed, callees who are busy, prompts that are missing, a caller who hangs
up), and `SimulatedAsterisk` turns the gateway's bytes into Asterisk's bytes, as Asterisk 22 was seen to do:

    asterisk = SimulatedAsterisk(SimulatedCall("34", caller="33"), Script(keys=("000000#", "123456#")))
    to_gateway = asterisk.environment()
    to_gateway = asterisk.receive(b"ANSWER\\n")      # b"200 result=0\\n"

It is pure: no sockets, no clock, no Twisted. Nothing takes time in it, so what depends on when something
arrives (a command that cancels a running prompt, digits lost between two commands) is not simulated.
"""

from pbxrouter.simulator.asterisk import SimulatedAsterisk
from pbxrouter.simulator.call import Script, SimulatedCall
from pbxrouter.simulator.words import split_words

__all__ = ["Script", "SimulatedAsterisk", "SimulatedCall", "split_words"]
