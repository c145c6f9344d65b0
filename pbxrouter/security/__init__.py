"""PINs, tokens, passwords, roles and rate limits."""

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
    check_pin,
    derive,
    generate_pin,
    hash_pin,
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
    "MAX_PASSWORD_LENGTH",
    "MAX_PIN_DIGITS",
    "MIN_PASSWORD_LENGTH",
    "MIN_PIN_DIGITS",
    "Network",
    "PasswordHashes",
    "RateLimit",
    "Role",
    "Scope",
    "TokenInfo",
    "WindowLimit",
    "bearer",
    "check_new_password",
    "check_pin",
    "create_key",
    "derive",
    "generate_pin",
    "hash_pin",
    "hash_token",
    "is_within",
    "network_of",
    "new_token",
    "parse_network",
    "pins",
    "read_key",
    "scopes_of",
    "scopes_text",
]
