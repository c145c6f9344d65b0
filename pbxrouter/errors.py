"""Every failure the product knows, as one typed tree.

``str()`` of each is one line for a person: it names what was wrong and, where
that helps, what is accepted. No PIN and no secret ever stands in one.
"""

from __future__ import annotations

from pbxrouter.text import Sentence, sentence


class PbxrouterError(Exception):
    """Root of the tree: whatever a person may be shown as one line.

    Args:
        message: the line; a Step where it may be shown in another language than English, too.

    Attributes:
        step: the line as a Step. Of a plain text it is the text itself, with no places in it.
    """

    def __init__(self, message: str | Sentence = "") -> None:
        self.sentence = message if isinstance(message, Sentence) else Sentence("{text}", {"text": message})
        super().__init__(self.sentence.english)


def sentence_of(error: BaseException) -> Sentence:
    """What an error says, as a Step; of one that is not ours as it is."""
    return error.sentence if isinstance(error, PbxrouterError) else sentence("{text}", text=error)


class ConfigError(PbxrouterError):
    """A setting cannot be used; the line names file, key and what is accepted."""


class PatternError(PbxrouterError):
    """A dial pattern that cannot be read."""


class PinError(PbxrouterError):
    """A PIN that cannot be used; the line never shows the PIN."""


class KeyFileError(PbxrouterError):
    """The file with the PIN key is missing, open to others, or holds no key."""


class ImportRefused(PbxrouterError):
    """A file to import is not what the import accepts; nothing was changed."""


class EditRefused(PbxrouterError):
    """A change that was not made, since something in it is not what it must be.

    Attributes:
        field: which of the values given; empty if it is none of them alone.
    """

    def __init__(self, message: str | Sentence, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotThere(EditRefused):
    """What was to be shown or changed is not there, or not any more."""


class EditConflict(EditRefused):
    """It cannot be made beside what is there: the name is taken, or somebody changed it meanwhile."""


# --- the database -----------------------------------------------------------


class StoreError(PbxrouterError):
    """The database cannot be used now."""


class DatabaseMissing(StoreError):
    """There is no file at the configured place."""


class DatabaseLocked(StoreError):
    """Another program holds the database."""


class DatabaseTooNew(StoreError):
    """The database was made by a later version of the program."""


class NotADatabase(StoreError):
    """The file is no SQLite database."""


class DatabaseForeign(StoreError):
    """An SQLite database, but of some other program."""


# --- the conversation of a call ---------------------------------------------


class AGIError(PbxrouterError):
    """Something in the conversation with Asterisk about one call."""


class InvalidArgument(AGIError):
    """A command we were about to send holds a byte that would break the protocol."""


class ChannelHungUp(AGIError):
    """The caller has gone; no further command makes sense. Never an error in the log."""

    def __init__(self, message: str = "the channel is hung up") -> None:
        super().__init__(message)


class ConnectionClosed(ChannelHungUp):
    """The connection to Asterisk ended: to us that call is over, too."""

    def __init__(self, message: str = "the connection was closed") -> None:
        super().__init__(message)


class CommandRefused(AGIError):
    """Asterisk answered 510, 511 or 520: it will not do that command."""

    def __init__(self, code: int, command: str, text: str) -> None:
        super().__init__(f"Asterisk answered {code} to {command}: {text}")
        self.code = code


class ProtocolViolation(AGIError):
    """The far end said what Asterisk would not say in that place."""


class ForgedRequest(ProtocolViolation):
    """The opening block holds lines that Asterisk would not have written.

    A caller can put line ends into a number (facts A7); such a call is refused.
    """


class ReplyTimeout(AGIError):
    """A command that takes no time got no reply in time."""


class PromptMissing(AGIError):
    """Asterisk has no sound of that name in the channel's language."""


class ApplicationFailed(AGIError):
    """A driver could not run its application."""


# --- AMI ---------------------------------------------------------------------


class ManagerError(PbxrouterError):
    """Something between us and Asterisk's manager interface."""


class InvalidAction(ManagerError):
    """An action we were about to send holds what would break the protocol; nothing was sent."""


class ManagerProtocolError(ManagerError):
    """The far end does not speak AMI as Asterisk does."""


class ManagerUnavailable(ManagerError):
    """There is no connection to Asterisk, or it was lost before the answer came."""


class LoginRefused(ManagerError):
    """Asterisk does not accept user name and secret."""


class ActionFailed(ManagerError):
    """Asterisk answered ``Response: Error``; the line is Asterisk's own message."""


class ActionTimeout(ManagerError):
    """An action was not answered in time."""


class ControlRefused(PbxrouterError):
    """The command line asked the gateway for what it cannot do."""


class OriginateRefused(PbxrouterError):
    """A call that we will not begin: malformed, or not allowed by the rules.

    Attributes:
        decision: what the rules said; None if it never came so far.
    """

    def __init__(self, message: str | Sentence, decision: object = None) -> None:
        super().__init__(message)
        self.decision = decision
