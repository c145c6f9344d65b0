"""The keys that a simulated caller presses, and the digits that GET DATA takes from them."""

from collections.abc import Iterable


class Keypad:
    """The caller's keypad.

    Args:
        presses: one string for each GET DATA, `#` included if pressed; afterwards nothing is pressed.
        interrupts: one key or none for each prompt that a key can stop.
    """

    def __init__(self, presses: Iterable[str], interrupts: Iterable[str] = ()) -> None:
        self._presses = list(presses)
        self._interrupts = list(interrupts)
        self._ahead = ""

    def read(self, most: int, *, heard: bool) -> tuple[str, bool]:
        """Take the digits of one GET DATA.

        Args:
            most: digits it takes at most; those beyond stay for the next one.
            heard: whether the keys arrive; those of an unanswered phone usually do not.

        Returns:
            The digits, and whether it ended by `#` or `most` and not by its timeout.
        """
        keys = self._take(most)
        if keys is None and self._presses:
            pressed = self._presses.pop(0)
            self._ahead += pressed if heard else ""
            keys = self._take(most)
        if keys is not None:
            return keys, True
        digits, self._ahead = self._ahead, ""
        return digits, False

    def read_one(self, accepted: str, *, heard: bool) -> str:
        """Take the key that stops a prompt: a waiting one, else one pressed meanwhile; empty if none does.

        Args:
            accepted: the keys that can stop it; others are lost.
            heard: whether the keys arrive.
        """
        while self._ahead:
            key, self._ahead = self._ahead[0], self._ahead[1:]
            if key in accepted:
                return key
        key = self._interrupts.pop(0)[:1] if self._interrupts else ""
        return key if heard and key and key in accepted else ""

    def forget_ahead(self) -> None:
        """Discard waiting digits, as an application does."""
        self._ahead = ""

    def _take(self, most: int) -> str | None:
        for index, key in enumerate(self._ahead):
            if key == "#" or index + 1 == most:
                digits = self._ahead[: index if key == "#" else most]
                self._ahead = self._ahead[index + 1 :]
                return digits
        return None
