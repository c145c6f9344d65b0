"""Splits bytes into command lines and lines into words, as Asterisk does."""

# Asterisk reads a line into a buffer of 8192 bytes; what does not fit becomes the next command.
LONGEST_LINE = 8190
# Words beyond this are dropped, with a warning in Asterisk's log only.
MOST_WORDS = 126


def split_words(line: bytes) -> list[bytes]:
    """Split a command line into words as Asterisk does.

    Blanks and tabs separate; quotes group; a backslash makes the next byte literal, inside quotes too; a
    quote in the middle of a word just vanishes. A carriage return is a byte like any other.

    Args:
        line: one line without its line end.

    Returns:
        The words, at most `MOST_WORDS`. An empty pair of quotes is an empty word.
    """
    words: list[bytearray] = []
    quoted = escaped = False
    between = True
    for byte in line:
        character = chr(byte)
        if character == '"' and not escaped:
            quoted = not quoted
            if quoted and between:
                words.append(bytearray())
                between = False
            continue
        if character in " \t" and not quoted and not escaped:
            between = True
            continue
        if character == "\\" and not escaped:
            escaped = True
            continue
        if between:
            words.append(bytearray())
            between = False
        words[-1].append(byte)
        escaped = False
    return [bytes(word) for word in words[:MOST_WORDS]]


class LineReader:
    """Splits a stream into lines as Asterisk reads it.

    Asterisk waits for the socket but reads through a buffer that the wait does not see. So of several lines
    that arrive together only the first is executed, and the others when more bytes come: a gateway that sends
    a command before the reply to the last one waits for ever.
    """

    def __init__(self) -> None:
        self._unread = bytearray()

    @property
    def unread(self) -> bytes:
        """Bytes that have arrived and were not executed yet."""
        return bytes(self._unread)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the bytes of one segment.

        Args:
            data: the bytes of one segment.

        Returns:
            The lines that Asterisk executes now, without their line ends: those left over from before, and
            one of the new ones.
        """
        lines = self._take(whole=True) if self._unread else []
        self._unread += data
        return lines + self._take(whole=False)

    def finish(self) -> list[bytes]:
        """Return all lines that are left, an unfinished last one too, since the other side closed."""
        lines = self._take(whole=True)
        if self._unread:
            lines.append(bytes(self._unread))
            self._unread.clear()
        return lines

    def _take(self, *, whole: bool) -> list[bytes]:
        lines: list[bytes] = []
        while (end := self._line_end()) is not None:
            length, skip = end
            lines.append(bytes(self._unread[:length]))
            del self._unread[: length + skip]
            if not whole:
                break
        return lines

    def _line_end(self) -> tuple[int, int] | None:
        """Length of the first line and of its line end (0 when the line is cut for being too long)."""
        self._glue()
        end = self._unread.find(b"\n", 0, LONGEST_LINE + 1)
        if end >= 0:
            return end, 1
        return (LONGEST_LINE, 0) if len(self._unread) > LONGEST_LINE else None

    def _glue(self) -> None:
        """Drop from each NUL to its line end, both included: Asterisk sees the next line glued to what came before."""
        while (nul := self._unread.find(b"\0")) >= 0 and (end := self._unread.find(b"\n", nul)) >= 0:
            del self._unread[nul : end + 1]
