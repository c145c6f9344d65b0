"""The state of the gateway's parts in a few lines, for the log."""

from __future__ import annotations

import resource
from collections.abc import Collection, Iterator

from pbxrouter.call import CallFlow, HistoryWriter
from pbxrouter.fastagi import FastAGIFactory
from pbxrouter.gateway.asterisk_service import AsteriskService
from pbxrouter.rules import RulesEngine
from pbxrouter.workers import WorkerPool


def state_of(
    flow: CallFlow,
    fastagi: FastAGIFactory,
    asterisks: Collection[AsteriskService],
    history: HistoryWriter,
    engine: RulesEngine,
    workers: Collection[WorkerPool] = (),
) -> Iterator[str]:
    """Describe calls, connections, queues and memory; no line has a caller, a number or a secret."""
    yield f"calls in progress: {flow.in_progress}, of them in a conversation: {flow.talking}"
    yield f"FastAGI connections: {fastagi.open_calls}; calls served since the start: {fastagi.served}"
    for asterisk in asterisks:
        manager = asterisk.manager
        if manager is None:
            yield f"AMI {asterisk.name}: not configured"
        else:
            trouble = f": {manager.trouble.english}" if manager.trouble is not None else ""
            yield f"AMI {asterisk.name}: {'connected' if manager.is_up else 'not connected'}{trouble}"
        for note in asterisk.claims.notes if asterisk.claims is not None else ():
            yield f"MAGI {asterisk.name}: {note.english}"
    yield f"rules: {'loaded' if engine.rules is not None else 'not loaded yet'}"
    yield f"history: {history.queued} calls wait to be written, {history.lost} were lost"
    for pool in workers:
        yield from pool.state()
    yield f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB at most since the start"
