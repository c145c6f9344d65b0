"""Passes the records of finished calls to the counter of the Asterisk that they came from.

Two Asterisks may have channels with equal Uniqueids. Where it is not known from which of them a call came, its record
goes to the only counter that knows the channel, or to none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pbxrouter.call import CallRecord
from pbxrouter.counter.call_table import LiveCall


class Counter(Protocol):
    """The part of CallCounter that is used here."""

    @property
    def asterisk(self) -> str:
        """The Asterisk's name in the settings."""
        ...

    def call_of(self, uniqueid: str) -> LiveCall | None:
        """The call of a channel; None if the channel is not known."""
        ...

    def report(self, record: CallRecord) -> None:
        """Receive the record of a call."""
        ...


class RecordsOfCounters:
    """Receives the records of finished calls.

    Args:
        counters: those of all Asterisks with an AMI connection.
    """

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters = counters

    def report(self, record: CallRecord) -> None:
        """Pass a record on."""
        if record.asterisk:
            counters = [counter for counter in self._counters if counter.asterisk == record.asterisk]
        elif len(self._counters) == 1:
            counters = list(self._counters)
        else:
            uniqueid = record.request.uniqueid
            counters = [counter for counter in self._counters if counter.call_of(uniqueid) is not None]
        if len(counters) == 1:
            counters[0].report(record)
