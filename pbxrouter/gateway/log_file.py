"""Opens twistd's log file again, after logrotate has moved it away."""

from __future__ import annotations

import inspect
import os
import signal
from typing import Any

from twisted.python.logfile import BaseLogFile, LogFile

from pbxrouter.errors import ConfigError


class TwistdLog:
    """The log file of twistd.

    twistd keeps its log file to itself, but for a handler of SIGUSR1 that rotates it: the file is found there. With
    ``-n`` and no ``--logfile`` there is none, and the log goes to standard output.

    Args:
        handler: what twistd has installed for SIGUSR1.
    """

    def __init__(self, handler: Any) -> None:
        found = inspect.getclosurevars(handler).nonlocals.get("logFile") if inspect.isfunction(handler) else None
        self._file: BaseLogFile | None = found if isinstance(found, BaseLogFile) else None
        if isinstance(self._file, LogFile) and not os.path.isfile(self._file.path):
            # twistd renames the file each million bytes; renaming /dev/null would break other programs.
            self._file.rotateLength = None

    @classmethod
    def of_process(cls) -> TwistdLog:
        """The log file of this process, if twistd has opened one; before SIGUSR1 gets another handler."""
        return cls(signal.getsignal(signal.SIGUSR1))

    def reopen(self) -> str | None:
        """Open the file at its path again; the file that was open there is closed.

        Returns:
            The path; None without a file.

        Raises:
            ConfigError: it cannot be opened; the log goes on in the file that is open.
        """
        file = self._file
        if file is None:
            return None
        try:
            with open(file.path, "ab"):  # LogFile would have closed the old one by now
                pass
            file.reopen()
        except OSError as error:
            raise ConfigError(f"the log file {file.path} cannot be opened again: {error.strerror}") from None
        return str(file.path)
