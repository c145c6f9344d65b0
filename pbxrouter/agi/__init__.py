"""The AGI protocol of one call, the same for FastAGI and AsyncAGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxrouter.agi.commands import (
    allowed_when_hung_up,
    command,
    encode_command,
    is_application,
    masked_reply,
    may_mean_hangup,
    outlives_caller,
    refused,
    reply_timeout_s,
    takes_time,
)
from pbxrouter.agi.dial_options import option_arguments, option_letters, options_problem
from pbxrouter.agi.messages import (
    AGAIN,
    ASTERISK,
    BOUNDED,
    GATEWAY_VARIABLE,
    KEY_VARIABLE,
    KEYED,
    NOT_SHOWN,
    SECRET,
    AGIReply,
    AGIRequest,
    decode,
    encode,
    format_request,
    masked_secret,
    parse_reply,
    parse_request,
)
from pbxrouter.agi.prompts import Prompts, is_prompt_name, localised
from pbxrouter.agi.reader import AGIReader
from pbxrouter.lazy import lazy_names

if TYPE_CHECKING:
    from pbxrouter.agi.channel import Channel
    from pbxrouter.agi.dialogue_watch import DialogueLine, DialogueWatch

__all__ = [
    "AGAIN",
    "ASTERISK",
    "BOUNDED",
    "GATEWAY_VARIABLE",
    "KEYED",
    "KEY_VARIABLE",
    "NOT_SHOWN",
    "SECRET",
    "AGIReader",
    "AGIReply",
    "AGIRequest",
    "Channel",
    "DialogueLine",
    "DialogueWatch",
    "Prompts",
    "allowed_when_hung_up",
    "command",
    "decode",
    "encode",
    "encode_command",
    "format_request",
    "is_application",
    "is_prompt_name",
    "localised",
    "masked_reply",
    "masked_secret",
    "may_mean_hangup",
    "option_arguments",
    "option_letters",
    "options_problem",
    "outlives_caller",
    "parse_reply",
    "parse_request",
    "refused",
    "reply_timeout_s",
    "takes_time",
    "verbs",
]

__getattr__ = lazy_names(
    __name__, {"Channel": "channel", "DialogueLine": "dialogue_watch", "DialogueWatch": "dialogue_watch"}
)
