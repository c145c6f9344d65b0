"""Several processes for one FastAGI port: the main process and its workers."""

from pbxrouter.workers.codec import packed_sentence
from pbxrouter.workers.in_worker import (
    FinishedCalls,
    LogToMain,
    MainProcess,
    RemoteManager,
    RemotePinCalls,
    RemotePinGuard,
    ReportedCalls,
    Reporter,
    WorkerHistory,
    WorkerJournal,
    send_alarm,
    send_line,
)
from pbxrouter.workers.link import Link
from pbxrouter.workers.main_journal import MainJournal
from pbxrouter.workers.pool import WorkerPool, adopt_link, demand_sharable
from pbxrouter.workers.shared_watch import SharedWatch, WorkerWatch
from pbxrouter.workers.worker_connection import MainParts

__all__ = [
    "FinishedCalls",
    "Link",
    "LogToMain",
    "MainJournal",
    "MainParts",
    "MainProcess",
    "RemoteManager",
    "RemotePinCalls",
    "RemotePinGuard",
    "ReportedCalls",
    "Reporter",
    "SharedWatch",
    "WorkerHistory",
    "WorkerJournal",
    "WorkerPool",
    "WorkerWatch",
    "adopt_link",
    "demand_sharable",
    "packed_sentence",
    "send_alarm",
    "send_line",
]
