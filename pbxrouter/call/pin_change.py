"""Users who change their PIN by phone: identified by the old one, within the limits on wrong PINs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from twisted.logger import Logger

from pbxrouter.agi import Channel, verbs
from pbxrouter.call.pin_guard import PinAttempt, PinGuard, PinSource
from pbxrouter.database import Connection, Database
from pbxrouter.database.rules import change_own_pin, user_of_pin
from pbxrouter.errors import ApplicationFailed, ChannelHungUp, EditRefused, PinError, StoreError
from pbxrouter.security import GuessKey, check_pin
from pbxrouter.text import printable

T = TypeVar("T")


class Reload(Protocol):
    """Loads the rules again."""

    def __call__(self) -> Awaitable[object]:
        """Reload the rules; as RulesReloader.reload."""
        ...


Source = Callable[[], Awaitable[PinSource]]
"""Finds out where a call came from."""


async def _proven() -> PinSource:
    return PinSource()


class PinChanges:
    """Changes PINs for callers.

    Args:
        hash_pin: hashes a PIN for storage.
        reload: loads the rules after a change.
        now: returns epoch seconds.
    """

    def __init__(
        self,
        store: Database,
        guard: PinGuard,
        hash_pin: Callable[[str], str],
        reload: Reload,
        now: Callable[[], float],
    ) -> None:
        self.store = store
        self.guard = guard
        self.hash_pin = hash_pin
        self.reload = reload
        self.now = now

    def of(self, channel: Channel, map_id: int, number: str, source: Source = _proven) -> CallerPins:
        """The PINs as the caller on a channel may use them; see drivers.Pins.

        Args:
            source: finds out where the call came from.
        """
        return CallerPins(self, channel, map_id, number, source)


class CallerPins:
    """The PINs for one caller; see drivers.Pins.

    Attributes:
        locked_by: what the caller was locked out by when a PIN was not checked; None if all were.
    """

    log = Logger()

    def __init__(self, changes: PinChanges, channel: Channel, map_id: int, number: str, source: Source) -> None:
        self._source = source
        self._changes = changes
        self._channel = channel
        self._map_id = map_id
        self._number = number
        self._user: tuple[int, str] | None = None
        self._old = ""
        self.locked_by: GuessKey | None = None

    async def identify(self, pin: str) -> bool:
        """Find the user of a PIN, counting wrong ones; as drivers.Pins.identify."""
        attempt = await self._attempt()
        try:
            hashed = self._changes.hash_pin(pin)
            user = await self._run(lambda connection: user_of_pin(connection, hashed))
            if user is None or not attempt.is_checked:
                self._wrong(attempt)
                return False
            await self._changes.guard.right(attempt, user[1])
        finally:
            self._changes.guard.give_up(attempt)
        self._user, self._old = user, hashed
        return True

    async def change(self, pin: str) -> bool:
        """Give the identified user a new PIN, if it can be used; as drivers.Pins.change."""
        if self._user is None:
            raise ApplicationFailed("changepin: no user was identified")
        user_id, name = self._user
        attempt = await self._attempt()
        hashed, old = self._changes.hash_pin(pin), self._old
        try:
            # Asked for each PIN, so that a weak one takes as long as one that another user has.
            owner = await self._run(lambda connection: user_of_pin(connection, hashed))
            if not attempt.is_checked or owner is not None or not _is_acceptable(pin):
                self._wrong(attempt)
                return False
            now = self._changes.now()
            try:
                await self._run(lambda connection: change_own_pin(connection, now, user_id, old, hashed))
            except PinError:  # another user has got it just now
                self._wrong(attempt)
                return False
            await self._changes.guard.right(attempt, name)
        finally:
            self._changes.guard.give_up(attempt)
        await self._changes.reload()
        self._old = hashed
        self.log.info("PINs: {user} has changed the PIN by phone", user=printable(name))
        return True

    async def _attempt(self) -> PinAttempt:
        source = await self._source()
        attempt = await self._changes.guard.admit(self._channel.request, self._map_id, source)
        if attempt.ruling.locked_by is not None:
            self.locked_by = attempt.ruling.locked_by
        try:
            await wait(self._channel, attempt.ruling.delay_s)
        except ChannelHungUp:
            self._wrong(attempt)
            raise
        except BaseException:
            self._changes.guard.give_up(attempt)
            raise
        return attempt

    def _wrong(self, attempt: PinAttempt) -> None:
        peer = getattr(self._channel, "peer", "")
        self._changes.guard.wrong(attempt, self._channel.request, peer, self._number)

    async def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._changes.store.run(work)
        except (StoreError, EditRefused) as error:
            raise ApplicationFailed(f"changepin: the PIN cannot be changed now: {error}") from error


def _is_acceptable(pin: str) -> bool:
    try:
        check_pin(pin)
    except PinError:
        return False
    return True


async def wait(channel: Channel, seconds: float) -> None:
    """Let the caller wait before a PIN is checked.

    Raises:
        ChannelHungUp: the caller hung up meanwhile.
    """
    if seconds:
        await verbs.run_application(channel, "Wait", f"{seconds:g}")
