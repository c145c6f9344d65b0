"""The keys that a simulated caller presses, and what one GET DATA makes of them."""

from collections.abc import Iterable


class Keypad:
    """The caller's fingers.

    Args:
        presses: one string for each GET DATA, `#` included if pressed; afterwards nothing is pressed.
    """

    def __init__(self, presses: Iterable[str]) -> None:
        self._presses = list(presses)
        self._ahead = ""

    def read(self, most: int, *, heard: bool) -> tuple[str, bool]:
        """What one GET DATA gets.

        Args:
            most: digits it takes at most; those beyond stay for the next one.
            heard: whether the keys arrive; those of an unanswered phone usually do not.

        Returns:
            The digits, and whether it ended by `#` or `most` and not by its timeout.
        """
        taken = self._take(most)
        if taken is None and self._presses:
            pressed = self._presses.pop(0)
            self._ahead += pressed if heard else ""
            taken = self._take(most)
        if taken is not None:
            return taken, True
        digits, self._ahead = self._ahead, ""
        return digits, False

    def forget_ahead(self) -> None:
        """Digits that wait are lost, as during an application."""
        self._ahead = ""

    def _take(self, most: int) -> str | None:
        for index, key in enumerate(self._ahead):
            if key == "#" or index + 1 == most:
                digits = self._ahead[: index if key == "#" else most]
                self._ahead = self._ahead[index + 1 :]
                return digits
        return None
