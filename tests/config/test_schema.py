"""Settings: defaults, every key, paths, and one line for each invalid value."""

from __future__ import annotations

import pathlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import parsing, schema
from pbxrouter.errors import ConfigError
from tests.paths import ROOT

BASE = pathlib.Path("/etc/pbx")
SAMPLE = ROOT / "pbxrouter.sample.toml"


def parse(text: str) -> schema.Config:
    """Parse settings in /etc/pbx/x.toml."""
    return parsing.parse(text, "x.toml", BASE)


class Accepted(SynchronousTestCase):
    """Settings that are accepted."""

    def test_defaults(self) -> None:
        """Every key is optional; paths follow the file, key and socket the database."""
        empty = parse("")
        self.assertEqual(empty.database, "/etc/pbx/pbxrouter.sqlite")
        self.assertEqual(empty.pin_key_file, "/etc/pbx/pbxrouter.sqlite.pinkey")
        self.assertEqual(empty.control, "/etc/pbx/pbxrouter.sqlite.sock")
        self.assertEqual(empty.fastagi.listen, "tcp:4573:interface=127.0.0.1")
        self.assertFalse(empty.fastagi.debug)
        self.assertEqual(empty.fastagi.secret_file, "")
        self.assertEqual(empty.technologies, {"SIP": "PJSIP", "Zap": "DAHDI"})
        self.assertEqual((empty.dial.timeout, empty.dial.options), (60, ""))
        self.assertEqual((empty.asterisk, empty.web.listen), ((), None))

    def test_sample(self) -> None:
        """The sample file is accepted."""
        parsing.parse(SAMPLE.read_text(), "sample", BASE)

    def test_everything(self) -> None:
        """Each key can be set."""
        full = parse(
            """
            database = "/var/x.db"
            pin_key_file = "keys/k"
            control = "c.sock"
            trunks = ["pjsip/provider", "IAX2/the other"]
            [fastagi]
            listen = "unix:/run/x"
            secret_file = "f"
            allow = ["192.0.2.7", "2001:db8::/64"]
            debug = true
            [[asterisk]]
            name = "a"
            ami = "tcp:h:1"
            username = "u"
            secret_file = "s"
            [[asterisk]]
            name = "b"
            [web]
            listen = "tcp:80"
            [prompts]
            ask-pin = "iss_ask_auth_{language}"
            [dial]
            timeout = 5
            options = "tT"
            [alarm]
            command = ["/bin/sms", "a b"]
            webhook = "https://[2001:db8::1]:8443/x?y=z"
            secret_file = "w"
            [technologies]
            SIP = "SIP"
            Zap = "DAHDI/g0"
            """
        )
        self.assertEqual(
            (full.database, full.pin_key_file, full.control),
            ("/var/x.db", "/etc/pbx/keys/k", "/etc/pbx/c.sock"),
        )
        self.assertEqual(full.fastagi.secret_file, "/etc/pbx/f")
        self.assertEqual(full.alarm.secret_file, "/etc/pbx/w")
        self.assertEqual(full.alarm.command, ("/bin/sms", "a b"))
        self.assertEqual(full.trunks, ("PJSIP/provider", "IAX2/the other"))
        self.assertEqual(full.fastagi.allow, ("192.0.2.7", "2001:db8::/64"))
        self.assertEqual([asterisk.secret_file for asterisk in full.asterisk], ["/etc/pbx/s", ""])
        self.assertEqual(full.prompts.ask_pin, "iss_ask_auth_{language}")
        self.assertEqual(full.prompts.goodbye, "vm-goodbye")
        self.assertEqual(full.technologies, {"SIP": "SIP", "Zap": "DAHDI/g0"})
        self.assertEqual((full.dial.timeout, full.dial.options, full.web.listen), (5, "tT", "tcp:80"))

    def test_other_database(self) -> None:
        """Key and socket follow the database given unless they are set."""
        moved = parsing.at_database(parse(""), "y.db", pathlib.Path("/x"))
        self.assertEqual(
            (moved.database, moved.pin_key_file, moved.control), ("/x/y.db", "/x/y.db.pinkey", "/x/y.db.sock")
        )
        named = parsing.at_database(parse('pin_key_file = "k"\ncontrol = "c"'), "y.db", pathlib.Path("/x"))
        self.assertEqual((named.pin_key_file, named.control), ("/etc/pbx/k", "/etc/pbx/c"))


_NAME = "asterisk.name: accepted is a name of at most 40 letters, digits and _ . -, with blanks between, not "

# The settings, and the error behind the file's name.
REFUSED = {
    "x =": "not TOML: Invalid value (at end of document)",
    "databse = 'x'": "databse: no such key; accepted at the top are alarm, asterisk, ",
    "[fastagi]\nport = 1": "fastagi.port: no such key; accepted here are allow, debug, ",
    "[[asterisk]]\nami = 'x'\n[[asterisk]]\nhost = 'y'": ("asterisk.host: no such key; accepted here are ami, "),
    "[prompts]\nask_pin = 'x'": (
        "prompts.ask_pin: no such key; accepted here are ask-number, ask-pin, goodbye, invalid-number, new-pin, "
        "pin-changed, pin-refused, pins-differ, repeat-pin, technical-failure, wrong-pin"
    ),
    "database = 5": "database: accepted is text in quotes, not a whole number",
    "database = 1979-05-27": "database: accepted is text in quotes",
    "database = ''": "database: accepted is the path of a file",
    'database = "a\\u0000b"': "database: accepted is the path of a file",
    'control = "a\\u0000b"': "control: accepted is the path of a file",
    "[fastagi]\ndebug = 'yes'": "fastagi.debug: accepted is true or false, not text in quotes",
    "[fastagi]\nlisten = ''": "fastagi.listen: accepted is an endpoint such as tcp:4573:interface=127.0.0.1",
    "fastagi = 1": "fastagi: accepted is a table, not a whole number",
    "asterisk = 1": "asterisk: accepted is a list of tables, written [[asterisk]], not a whole number",
    "[asterisk]\nname = 'x'": "asterisk: accepted is a list of tables, written [[asterisk]], not a table",
    "[[asterisk]]\nname = 1": "asterisk[0].name: accepted is text in quotes, not a whole number",
    "[[asterisk]]\n[[asterisk]]": (
        "asterisk.name: accepted is a different name for each [[asterisk]], upper and lower case aside,"
        " not 'asterisk' and 'asterisk'"
    ),
    "[[asterisk]]\nname = 'Lab'\n[[asterisk]]\nname = 'lab'": (
        "asterisk.name: accepted is a different name for each [[asterisk]], upper and lower case aside,"
        " not 'Lab' and 'lab'"
    ),
    "[[asterisk]]\nname = ''": f"{_NAME}''",
    "[[asterisk]]\nname = 'a:b'": f"{_NAME}'a:b'",
    "[[asterisk]]\nname = 'a/b'": f"{_NAME}'a/b'",
    "[[asterisk]]\nname = ' a'": f"{_NAME}' a'",
    "[[asterisk]]\nname = 'a,b'": f"{_NAME}'a,b'",
    "[[asterisk]]\nname = '12345678901234567890123456789012345678901'": _NAME,
    "[[asterisk]]\nname = 'a'\nsecret_file = 's'\n[[asterisk]]\nname = 'b'\nsecret_file = 's'": (
        "asterisk.ami: accepted is one [[asterisk]] for each AMI, not 'a' and 'b' both at 'tcp:127.0.0.1:5038'"
    ),
    "[[asterisk]]\nname = 'a'\nsecret_file = 's'\nami = 'tls:localhost:5038'\n"
    "[[asterisk]]\nname = 'b'\nsecret_file = 's'\nami = 'tcp:host=127.0.0.1:port=5038'": (
        "asterisk.ami: accepted is one [[asterisk]] for each AMI, not 'a' and 'b' both at"
        " 'tcp:host=127.0.0.1:port=5038'"
    ),
    "[fastagi]\nallow = ['192.0.2/9']": (
        'fastagi.allow: accepted is addresses and networks, such as ["192.0.2.7", "2001:db8::/64"], not \'192.0.2/9\''
    ),
    "[fastagi]\nallow = ['::1', 'pbx.example.org']": "fastagi.allow: accepted is addresses and networks, such as ",
    "[fastagi]\nallow = ['192.0.2.7/24']": "fastagi.allow: accepted is addresses and networks, such as ",
    "trunks = ['provider']": (
        "trunks: accepted is endpoints, a technology and a name, such as [\"PJSIP/provider\"], not 'provider'"
    ),
    "[web]\ntimezone = 'Mars/Base'": (
        "web.timezone: accepted is the name of a time zone, such as \"Europe/Madrid\", not 'Mars/Base'"
    ),
    "trunks = ['PJSIP/']": "trunks: accepted is endpoints, a technology and a name, such as ",
    "trunks = ['PJSIP/\uff13\uff13']": "trunks: accepted is endpoints, a technology and a name, such as ",
    "trunks = ['PJSIP/33\u00a0']": "trunks: accepted is endpoints, a technology and a name, such as ",
    "trunks = ['Local/1@trunk']": "trunks: accepted is endpoints, a technology and a name, such as ",
    'trunks = ["PJSIP/a\\nb"]': "trunks: accepted is endpoints, a technology and a name, such as ",
    "[fastagi]\nallow = '192.0.2.7'": "fastagi.allow: accepted is a list of texts, such as ",
    '[fastagi]\nsecret_file = "a\\u0000b"': "fastagi.secret_file: accepted is the path of a file",
    "[fastagi]\nlibrary = 'x'": "fastagi.library: accepted is pbxrouter or starpy, not 'x'",
    '[[asterisk]]\nsecret_file = "a\\u0000b"': "asterisk.secret_file: accepted is the path of a file",
    "[alarm]\ncommand = 'x'": "alarm.command: accepted is a list of texts",
    "[alarm]\ncommand = ['sms']": "alarm.command: accepted is a program's path from / on and its arguments, such as ",
    '[alarm]\ncommand = ["/x", "a\\u0000b"]': "alarm.command: accepted is a program's path from / on",
    "[alarm]\nwebhook = 'http://example.org/'\nsecret_file = 's'": "alarm.webhook: accepted is an address such as ",
    "[alarm]\nwebhook = 'https://a:b@example.org/'\nsecret_file = 's'": "alarm.webhook: accepted is an address",
    "[alarm]\nwebhook = 'https://example.org/a b'\nsecret_file = 's'": "alarm.webhook: accepted is an address",
    "[alarm]\nwebhook = 'https://example.org/'": "alarm.secret_file: accepted is a file with the key",
    '[alarm]\nsecret_file = "a\\u0000b"': "alarm.secret_file: accepted is the path of a file",
    "[web]\nlisten = 1": "web.listen: accepted is text in quotes, not a whole number",
    "[dial]\ntimeout = 0": "dial.timeout: accepted is a whole number, at least 1",
    "[dial]\ntimeout = 86401": "dial.timeout: accepted is a whole number, at most 86400",
    "[dial]\ntimeout = 99999999999999999999999": "dial.timeout: accepted is a whole number, at most 86400",
    "[dial]\ntimeout = 1.5": "dial.timeout: accepted is a whole number, not",
    "[dial]\ntimeout = true": "dial.timeout: accepted is a whole number, not true or false",
    "[dial]\noptions = 'a,b'": "dial.options: accepted is the letters of Dial()'s options",
    "[prompts]\ngoodbye = 'a&b'": "prompts.goodbye: accepted is the name of a sound: letters, digits",
    "[technologies]\nSIP = 1": "technologies.SIP: accepted is text in quotes",
    "[technologies]\nSIP = 'a b'": "technologies.SIP: accepted is a technology",
    "[technologies]\n'' = 'a'": "technologies.: accepted is a technology",
    "technologies = 'x'": "technologies: accepted is a table, not text in quotes",
    '"a\\nb" = 1': "a\\nb: no such key",
    '[technologies]\n"a\\nb" = "c"': "technologies.a\\nb: accepted is a technology",
}


class Refused(SynchronousTestCase):
    """Settings that are refused in one line, with file, key and what is accepted."""

    def test_table(self) -> None:
        """Each row of the table is refused with its line."""
        for text, expected in REFUSED.items():
            line = str(self.assertRaises(ConfigError, parse, text))
            self.assertTrue(line.startswith(f"x.toml: {expected}"), f"{text!r}: {line}")
            self.assertNotIn("\n", line)

    @given(
        st.dictionaries(
            st.sampled_from("database control fastagi asterisk web prompts dial technologies x".split()),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from("listen debug name timeout options ask-pin SIP".split()) | st.text(),
                        inner,
                    )
                ),
                max_leaves=6,
            ),
        )
    )
    def test_anything(self, table: dict[str, object]) -> None:
        """Any table is accepted, or refused in one line."""
        try:
            parsing.from_table(table, "x.toml", BASE)
        except ConfigError as error:
            self.assertTrue(str(error).isprintable(), str(error))
