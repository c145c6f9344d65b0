"""Rate limits by key: a token bucket and a sliding window."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

MAX_KEYS: Final = 10_000
"""Keys remembered; beyond that, the least recently used are forgotten."""


@dataclass(slots=True)
class _Bucket:
    left: float
    seen: float


class RateLimit:
    """Token bucket: each key may do ``burst`` at once and ``per_minute`` in the long run."""

    def __init__(self, per_minute: float, burst: int) -> None:
        self._per_s = per_minute / 60
        self._burst = float(burst)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, key: str, now: float) -> float:
        """Seconds to wait; 0 if it is allowed now, which is then counted."""
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, now)
        bucket.left = min(self._burst, bucket.left + max(0.0, now - bucket.seen) * self._per_s)
        bucket.seen = now
        self._buckets[key] = bucket
        if len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        if bucket.left >= 1:
            bucket.left -= 1
            return 0.0
        return (1 - bucket.left) / self._per_s

    def give_back(self, key: str) -> None:
        """Take back what was counted last for the key."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.left = min(self._burst, bucket.left + 1)


class WindowLimit:
    """Sliding-window limit: at most N events for each key in any window of ``window_s`` seconds."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, key: str, most: int, now: float) -> float:
        """Seconds to wait; 0 if it is allowed now, which is then counted.

        Args:
            most: how many in the window; at least 1.
        """
        times = self._seen.pop(key, None) or deque()
        while times and times[0] <= now - self._window_s:
            times.popleft()
        self._seen[key] = times
        if len(self._seen) > MAX_KEYS:
            self._seen.popitem(last=False)
        if len(times) >= most:
            return times[len(times) - most] + self._window_s - now
        times.append(now)
        return 0.0

    def give_back(self, key: str) -> None:
        """Take back what was counted last for the key."""
        times = self._seen.get(key)
        if times:
            times.pop()
