"""The AMI client: messages, accounts, the connection to Asterisk's manager interface."""

from pbxrouter.ami.account import Account, account_of, read_secret, with_reporting_hint
from pbxrouter.ami.channel_check import ChannelCheck
from pbxrouter.ami.channel_variable import has_variable
from pbxrouter.ami.connection import AMIConnection, AMIFactory, ProtocolFactory
from pbxrouter.ami.heartbeat import HEARTBEAT_VARIABLE, Heartbeat
from pbxrouter.ami.messages import (
    MAX_MESSAGE,
    AMIMessage,
    format_action,
    is_whole,
)
from pbxrouter.ami.once import connect_once
from pbxrouter.ami.protocol import (
    ACTION_TIMEOUT_S,
    AMIProtocol,
    EventHandler,
    Headers,
)
from pbxrouter.ami.watchdog import PING_AFTER_S

__all__ = [
    "ACTION_TIMEOUT_S",
    "HEARTBEAT_VARIABLE",
    "MAX_MESSAGE",
    "PING_AFTER_S",
    "AMIConnection",
    "AMIFactory",
    "AMIMessage",
    "AMIProtocol",
    "Account",
    "ChannelCheck",
    "EventHandler",
    "Headers",
    "Heartbeat",
    "ProtocolFactory",
    "account_of",
    "connect_once",
    "format_action",
    "has_variable",
    "is_whole",
    "read_secret",
    "with_reporting_hint",
]
