"""PINs, tokens, passwords, roles and rate limits."""

from pbxrouter.security.guess_limits import (
    CALLER_SCOPES,
    SCOPES,
    GuessKey,
    Ruling,
    charged,
    endpoint_of,
    guesses,
    keys_of,
    lock_bounds,
    refunded,
    rule,
)
from pbxrouter.security.keyfile import create_key, read_key
from pbxrouter.security.networks import Network, is_within, network_of, parse_network
from pbxrouter.security.passwords import (
    MAX_PASSWORD_LENGTH,
    MIN_PASSWORD_LENGTH,
    PasswordHashes,
    check_new_password,
)
from pbxrouter.security.pins import (
    MAX_PIN_DIGITS,
    MIN_PIN_DIGITS,
    check_old_pin,
    check_pin,
    derive,
    generate_pin,
    hash_pin,
    is_obvious,
    weak_pins,
)
from pbxrouter.security.ratelimit import RateLimit, WindowLimit
from pbxrouter.security.roles import Role
from pbxrouter.security.tokens import (
    Scope,
    TokenInfo,
    bearer,
    hash_token,
    new_token,
    scopes_of,
    scopes_text,
)

__all__ = [
    "CALLER_SCOPES",
    "MAX_PASSWORD_LENGTH",
    "MAX_PIN_DIGITS",
    "MIN_PASSWORD_LENGTH",
    "MIN_PIN_DIGITS",
    "SCOPES",
    "GuessKey",
    "Network",
    "PasswordHashes",
    "RateLimit",
    "Role",
    "Ruling",
    "Scope",
    "TokenInfo",
    "WindowLimit",
    "bearer",
    "charged",
    "check_new_password",
    "check_old_pin",
    "check_pin",
    "create_key",
    "derive",
    "endpoint_of",
    "generate_pin",
    "guesses",
    "hash_pin",
    "hash_token",
    "is_obvious",
    "is_within",
    "keys_of",
    "lock_bounds",
    "network_of",
    "new_token",
    "parse_network",
    "pins",
    "read_key",
    "refunded",
    "rule",
    "scopes_of",
    "scopes_text",
    "weak_pins",
]
