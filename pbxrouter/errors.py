"""All exceptions of pbxrouter, as one tree.

``str()`` of each is one line for a person: it names what was wrong and, where that helps, what is
accepted. It never contains a PIN or a secret.
"""

from __future__ import annotations

from pbxrouter.text import Sentence, sentence


class PbxrouterError(Exception):
    """Base class of all exceptions that may be shown to a person as one line.

    Args:
        message: the line, which is made printable; a Sentence if it may be shown in other languages, too.

    Attributes:
        sentence: the line as a Sentence; plain text becomes a sentence without placeholders.
    """

    def __init__(self, message: str | Sentence = "") -> None:
        self.sentence = message if isinstance(message, Sentence) else sentence("{text}", text=message)
        super().__init__(self.sentence.english)


def sentence_of(error: BaseException) -> Sentence:
    """The message of any exception as a Sentence."""
    return error.sentence if isinstance(error, PbxrouterError) else sentence("{text}", text=error)


class ConfigError(PbxrouterError):
    """A setting cannot be used. The message names the key and what is accepted."""


class DescriptorsUsedUp(PbxrouterError):
    """The process may open no further file or connection."""

    def __init__(self, limit: int) -> None:
        super().__init__(sentence("all {count} file descriptors are in use: new calls are closed at once", count=limit))


class PatternError(PbxrouterError):
    """A dial pattern cannot be parsed."""


class PinError(PbxrouterError):
    """A PIN cannot be used. The message never contains the PIN."""


class KeyFileError(PbxrouterError):
    """The PIN key file is missing, readable by others, or holds no key."""


class ImportRefused(PbxrouterError):
    """A file to import has an unknown format. Nothing was changed."""


class EditRefused(PbxrouterError):
    """A change was refused because one of its values is not valid.

    Attributes:
        field: the value that was refused; empty if it is not a single one.
    """

    def __init__(self, message: str | Sentence, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotThere(EditRefused):
    """The row to show or change does not exist (any more)."""


class EditConflict(EditRefused):
    """A change conflicts with the database: the name is taken, or the row was changed meanwhile."""


# --- the database -----------------------------------------------------------


class StoreError(PbxrouterError):
    """The database cannot be used now; base class of the database's errors."""


class RulesNotLoaded(StoreError):
    """No rules have been loaded since the start, so no call can be decided."""

    def __init__(self) -> None:
        super().__init__(Sentence("the rules are not loaded yet, so no call can be routed"))


class DatabaseMissing(StoreError):
    """There is no database file at the configured path."""


class DatabaseLocked(StoreError):
    """Another program keeps the database locked."""


class DatabaseFull(StoreError):
    """There is no room on the database's disk. What was to be written is not; the rest can be read."""


class DatabaseTooNew(StoreError):
    """The database has a newer schema than this version knows."""


class NotADatabase(StoreError):
    """The file is no SQLite database."""


class DatabaseForeign(StoreError):
    """The file is an SQLite database of another program."""


class JournalUnreadable(PbxrouterError):
    """A journal of calls cannot be read. The message says why, without the file's name."""


class ExportRefused(PbxrouterError):
    """The history cannot be exported now. The message says why, without the file's name."""


class ExportFailed(PbxrouterError):
    """An export of the history broke off before its end."""


# --- the conversation of a call ---------------------------------------------


class AGIError(PbxrouterError):
    """An error in the AGI conversation of one call; base class of those below."""


class InvalidArgument(AGIError):
    """A command argument contains a byte that AGI cannot carry. Nothing was sent."""


class ChannelHungUp(AGIError):
    """The channel is hung up. An ordinary end of a call, never logged as an error."""

    def __init__(self, message: str = "the channel is hung up") -> None:
        super().__init__(message)


class ConnectionClosed(ChannelHungUp):
    """The connection to Asterisk was lost, and the call with it."""

    def __init__(self, message: str = "the connection was closed") -> None:
        super().__init__(message)


class GatewayStopping(ConnectionClosed):
    """The gateway stops and has given the call back to the dialplan.

    Attributes:
        in_application: whether an application ran at that moment, which Asterisk carries on alone.
    """

    def __init__(self, in_application: bool = False) -> None:
        super().__init__("the gateway stops")
        self.in_application = in_application


class CommandRefused(AGIError):
    """Asterisk refused a command with 510, 511 or 520."""

    def __init__(self, code: int, command: str, text: str) -> None:
        super().__init__(f"Asterisk answered {code} to {command}: {text}")
        self.code = code


class ProtocolViolation(AGIError):
    """The peer sent something that Asterisk would not send at that point.

    Attributes:
        peer: who brought it: an address, or an Asterisk's name; ``""`` if that is not known.
        asterisk: the Asterisk's name in the settings, if that is certain; else ``""``.
    """

    peer = ""
    asterisk = ""


class ForgedRequest(ProtocolViolation):
    """The opening block contains lines that Asterisk would not have written.

    A caller can put line ends into a number (docs/asterisk.md A7); such a call is refused.
    """


class ReplyTimeout(AGIError):
    """A command that takes no time was not answered in time."""


class PromptMissing(AGIError):
    """Asterisk has no such sound in the channel's language."""


class ApplicationFailed(AGIError):
    """A driver could not run its application."""


# --- AMI ---------------------------------------------------------------------


class ManagerError(PbxrouterError):
    """An error in the use of Asterisk's manager interface; base class of those below."""


class InvalidAction(ManagerError):
    """An action contains something that AMI cannot carry. Nothing was sent."""


class ManagerProtocolError(ManagerError):
    """The peer does not speak AMI."""


class ManagerUnavailable(ManagerError):
    """There is no AMI connection, or it was lost before the response came."""


class LoginRefused(ManagerError):
    """Asterisk refused the user name or the secret."""


class ActionFailed(ManagerError):
    """Asterisk answered ``Response: Error``. The message is Asterisk's own."""


class ActionTimeout(ManagerError):
    """Asterisk did not answer an action in time."""


class AlarmFailed(PbxrouterError):
    """An alarm could not be delivered to its command or webhook."""


class ControlRefused(PbxrouterError):
    """The gateway cannot do what the command line asked for."""


class OriginateRefused(PbxrouterError):
    """A call is not originated: the request is malformed, or the rules do not allow it.

    Attributes:
        decision: the rules' decision; None if the request was refused before.
    """

    def __init__(self, message: str | Sentence, decision: object = None) -> None:
        super().__init__(message)
        self.decision = decision


class ProcessAway(PbxrouterError):
    """Another process of the gateway is gone, stands still, or could not answer."""
