"""Click-to-dial links: their values, changes that can be undone, and calls counted by the day."""

from __future__ import annotations

import dataclasses
import secrets

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.database.audit import (
    Actor,
    AuditSearch,
    entry,
    find_entries,
    undo,
)
from pbxrouter.database.click_to_dial.link_values import (
    MAX_A_DAY,
    MAX_CONSENT,
    MAX_LIST,
    DialLink,
    LinkOptions,
    LinkValues,
    checked,
)
from pbxrouter.database.click_to_dial.links import (
    add_dial_link,
    delete_dial_link,
    dial_link,
    give_call_back,
    list_dial_links,
    set_dial_link_enabled,
    take_call,
    update_dial_link,
    void_dial_link,
)
from pbxrouter.errors import EditConflict, EditRefused, NotThere
from tests.database.postgresql import OnBothEngines

ANA = Actor("ana", "console")
NOW = 1_795_409_729.0
DAY = "2026-11-23"
PLACES = LinkOptions({"SIP": "PJSIP"}, {"lab": ("pbxrouter-phones",)})
SALES = LinkValues("Talk to sales", "PJSIP/33", "pbxrouter-phones", "+34[679]XXXXXXXX [679]XXXXXXXX")


class ValuesCase(SynchronousTestCase):
    """Checks values of links."""

    def refused(self, field: str, places: LinkOptions = PLACES, /, **values: str | int) -> str:
        """Check that a link is refused for that field; returns the message."""
        error = self.assertRaises(EditRefused, checked, dataclasses.replace(SALES, **values), places)  # type: ignore[arg-type]
        self.assertEqual(error.field, field, str(error))
        self.assertNotIn("\n", str(error))
        return str(error)


class ValuesTests(ValuesCase):
    """The values of a link."""

    def test_kept_in_one_way(self) -> None:
        """Values are stored without superfluous blanks, lines, capitals, commas and slashes."""
        values = checked(
            LinkValues(
                "  Sales ",
                " SIP/33 ",
                " pbxrouter-phones ",
                " 2X\n  9XXX ",
                " lab ",
                "lun-vie 9-18",
                1,
                1,
                " I agree\n to it ",
                "",
                "HTTPS://Example.org/, http://localhost:8000 https://example.org",
            ),
            PLACES,
        )
        kept = (
            "Sales",
            "SIP/33",
            "pbxrouter-phones",
            "2X 9XXX",
            "lab",
            "mon-fri 09:00-18:00",
            1,
            1,
            "I agree to it",
            "",
        )
        self.assertEqual(dataclasses.astuple(values), (*kept, "https://example.org http://localhost:8000"))
        self.assertEqual(checked(values, PLACES), values)

    def test_names(self) -> None:
        """A name is one line of printable characters."""
        for name in ("", "  ", "x" * 81, "a\nb", "a\0"):
            self.refused("name", name=name)

    def test_phones(self) -> None:
        """A link calls one phone, and nothing that could end an AMI header."""
        for phone in ("", "33", "Local/33", "PJSIP/33&PJSIP/21", "PJSIP/33\r\nVariable: x"):
            self.assertIn("PJSIP/33", self.refused("phone", phone=phone))

    def test_contexts(self) -> None:
        """A context is one of those that the settings allow."""
        for context in ("", "a b", "x\r\nExten: 1", "x,1"):
            self.refused("context", context=context)
        few = LinkOptions({}, {"lab": ("phones", "desks")})
        self.assertIn(
            "asterisk.originate lists no context, so no call can be placed; add pbxrouter-phones to allow it",
            self.refused("context", LinkOptions({}, {"lab": ()})),
        )
        self.assertIn("phones, desks", self.refused("context", few))
        self.assertEqual(checked(dataclasses.replace(SALES, context="desks"), few).context, "desks")

    def test_asterisks(self) -> None:
        """The Asterisk is one of the settings; if none is named the context is that of any of them."""
        self.assertIn("lab", self.refused("asterisk", asterisk="other"))
        two = LinkOptions({}, {"a": (SALES.context,), "b": ("only",)})
        self.assertIn("a, b", self.refused("asterisk", two, asterisk="c"))
        self.assertEqual(checked(SALES, two).asterisk, "")
        self.assertEqual(checked(dataclasses.replace(SALES, context="only"), two).context, "only")
        self.assertIn(f"{SALES.context}, only", self.refused("context", two, context="others"))
        self.refused("context", two, asterisk="b")
        self.assertEqual(checked(dataclasses.replace(SALES, asterisk="a"), two).asterisk, "a")
        self.refused("asterisk", LinkOptions({}, {}), asterisk="x")
        self.assertEqual(checked(SALES, LinkOptions({}, {})).asterisk, "")

    def test_destinations(self) -> None:
        """Destinations are dial patterns, at least one."""
        self.assertIn("+34", self.refused("destinations", destinations=" "))
        self.assertIn("2[", self.refused("destinations", destinations="2X 2["))
        self.assertIn("a", self.refused("destinations", destinations="abc"))
        self.refused("destinations", destinations="2X " * (MAX_LIST + 1))

    def test_numbers(self) -> None:
        """Numbers are within their bounds."""
        for most in (0, -1, MAX_A_DAY + 1):
            self.assertIn(str(MAX_A_DAY), self.refused("calls_a_day", calls_a_day=most))
        self.refused("calls_an_hour", calls_an_hour=0)

    def test_hours_and_consent(self) -> None:
        """Hours are parsed as opening hours; the text for consent is bounded."""
        self.assertIn("noday", self.refused("hours", hours="noday 9-10"))
        for field in ("consent_en", "consent_es"):
            self.refused(field, **{field: "x" * (MAX_CONSENT + 1)})
            self.refused(field, **{field: "a\0b"})

    def test_sites(self) -> None:
        """Sites are origins that cannot leave the header in which they are sent."""
        for site in (
            "example.org",
            "http://example.org",
            "https://",
            "https://example.org/page",
            "https://*.example.org",
            "https://a; script-src *",
            "https://a;script-src",
            "*",
            "'self'",
            "https://a:b",
            "https://-a",
            "https://ejémplo.org",
        ):
            self.assertIn("https://example.org", self.refused("sites", sites=site))

    def test_link(self) -> None:
        """A link has its destinations, hours, consent and sites."""
        values = dataclasses.replace(
            SALES, consent_en="yes?", sites="https://a.org evil;x https://c.org;x https://b.org"
        )
        link = DialLink(1, values, 1, None)
        self.assertEqual(link.origins, "https://a.org https://b.org")
        for number, allowed in (
            ("+34600112233", True),
            ("600112233", True),
            ("112", False),
            ("+4460011223", False),
        ):
            self.assertEqual(link.allows(number), allowed)
        self.assertEqual((link.consent("en"), link.consent("es")), ("yes?", "yes?"))
        both = DialLink(1, dataclasses.replace(values, consent_es="¿sí?"), 1, None)
        self.assertEqual((both.consent("en"), both.consent("es")), ("yes?", "¿sí?"))
        spoilt = DialLink(1, dataclasses.replace(values, destinations="2[ 2X"), 1, None)
        self.assertTrue(spoilt.allows("21"))


class ExactTests(ValuesCase):
    """The bounds of values, and the messages beyond them."""

    def accepted(self, **values: str | int) -> LinkValues:
        """The values as they are stored."""
        return checked(dataclasses.replace(SALES, **values), PLACES)  # type: ignore[arg-type]

    def test_bounds_of_numbers(self) -> None:
        """A link has from 1 to 100 000 calls a day and 1000 an hour."""
        for field, most in (("calls_a_day", 100_000), ("calls_an_hour", 1000)):
            for number in (1, most):
                self.assertEqual(getattr(self.accepted(**{field: number}), field), number)
            for number in (0, most + 1):
                self.assertEqual(self.refused(field, **{field: number}), f"enter a whole number from 1 to {most}")
        self.assertEqual((SALES.calls_a_day, SALES.calls_an_hour), (50, 5))

    def test_bounds_of_names_and_consent(self) -> None:
        """Names have up to 80 printable characters, the text for consent 600."""
        self.assertEqual(self.accepted(name="x" * 80).name, "x" * 80)
        self.assertEqual(self.refused("name", name="x" * 81), "a name has 1 to 80 printable characters")
        for field in ("consent_en", "consent_es"):
            self.assertEqual(getattr(self.accepted(**{field: "x" * 600}), field), "x" * 600)
            for text in ("x" * 601, "a\x1b"):
                self.assertEqual(self.refused(field, **{field: text}), "at most 600 printable characters are accepted")

    def test_bounds_of_lists(self) -> None:
        """A link has up to 30 patterns or sites, with 2000 characters in total."""
        said = "at most 30 entries with 2000 characters in total are accepted"
        site = "https://" + "a" * 1992
        for field, entry_text in (("destinations", "2X"), ("sites", "https://a.org")):
            self.accepted(**{field: f"{entry_text} " * 30})
            self.assertEqual(self.refused(field, **{field: f"{entry_text} " * 31}), said)
            self.accepted(**{field: entry_text.ljust(2000)})
            self.assertEqual(self.refused(field, **{field: entry_text.ljust(2001)}), said)
        self.assertEqual(self.accepted(sites=site).sites, site)

    def test_what_is_said(self) -> None:
        """The message quotes the beginning of the value, and says what is accepted."""
        self.assertEqual(
            self.refused("phone", phone="x" * 90), f"'{'x' * 60}' is not a phone; enter one such as PJSIP/33"
        )
        self.assertEqual(
            self.refused("context", context="," * 90),
            f"'{',' * 60}' is not a dialplan context; enter one such as pbxrouter-phones",
        )
        self.assertEqual(
            self.refused("sites", sites="x" * 90),
            f"'{'x' * 80}' is not a site; enter one such as https://example.org"
            " (http:// is accepted for localhost only)",
        )
        self.assertEqual(
            self.refused("destinations", destinations=""),
            "enter at least one number pattern, such as +34[679]XXXXXXXX",
        )
        for pattern in ("2[5-1]", "2a", "O1"):
            self.assertEqual(self.refused("destinations", destinations=pattern), f"no number can match {pattern}")
        for places, asterisk, said in (
            (PLACES, "x", "choose one of these Asterisks: lab"),
            (LinkOptions({}, {"a": ("c",), "b": ("c",)}), "c", "choose one of these Asterisks: a, b"),
            (LinkOptions({}, {}), "x", "no [[asterisk]] is configured; leave this empty"),
        ):
            self.assertEqual(self.refused("asterisk", places, asterisk=asterisk), said)
        self.assertEqual(
            self.refused("context", LinkOptions({}, {"lab": ("phones", "desks")})),
            "context: pbxrouter-phones is not one of asterisk.originate: phones, desks",
        )
        self.assertEqual(
            self.refused("context", LinkOptions({}, {"lab": ()})),
            "context: asterisk.originate lists no context, so no call can be placed; add pbxrouter-phones to allow it",
        )

    def test_letters_of_patterns(self) -> None:
        """X, Z and N in either case stand for digits; no other letter does."""
        self.assertEqual(self.accepted(destinations="2XZN _2xzn").destinations, "2XZN _2xzn")
        for letter in "AMOWYamowy":
            self.refused("destinations", destinations=f"_2{letter}")

    def test_forms_of_sites(self) -> None:
        """https with a name or an address, http for this machine; a port has one to five digits."""
        for site in (
            "https://a", "https://a1.b-c.org", "https://a.b.c:1", "https://192.0.2.1:65535", "https://[::1]",
            "https://[2001:db8::1]:8443", "http://localhost", "http://localhost:1", "http://127.0.0.1",
            "http://127.0.0.1:12345", "http://[::1]", "http://[::1]:8000",
        ):  # fmt: skip
            self.assertEqual(self.accepted(sites=site).sites, site)
        for site in (
            "https://a:", "https://a:123456", "https://a-", "https://.a", "https://a..b", "https://a.-b", "https://[]",
            "http://localhost:", "http://localhost:123456", "http://127.0.0.2", "http://127a0b0c1", "http://::1",
            "http://localhost.org", "ftp://a", "https://a_b", "https://a.b_",
        ):  # fmt: skip
            self.refused("sites", sites=site)
        self.assertEqual(self.accepted(sites="https://b/,https://a,https://b").sites, "https://b https://a")


class RowsTests(OnBothEngines):
    """Links in a database."""

    def setUp(self) -> None:
        """Add a click-to-dial link."""
        self.connection = self.database()
        self.number = add_dial_link(self.connection, ANA, NOW, SALES, PLACES)

    def link(self) -> DialLink:
        """The link as it is now."""
        return dial_link(self.connection, self.number, DAY)

    def last(self) -> tuple[str, str, str]:
        """The newest entry of the audit log."""
        (last,) = find_entries(self.connection, AuditSearch(), 1)
        return last.action, last.kind, last.name

    def test_stored_as_checked(self) -> None:
        """A new and a changed link are stored as their values are checked; what is refused changes nothing."""
        link_id = add_dial_link(
            self.connection, ANA, NOW, dataclasses.replace(SALES, name=" Sales ", sites="HTTPS://A.org/"), PLACES
        )
        values = dial_link(self.connection, link_id).values
        self.assertEqual((values.name, values.sites), ("Sales", "https://a.org"))
        update_dial_link(self.connection, ANA, NOW, link_id, {"name": " Shop ", "destinations": " 2X  3X "}, PLACES)
        values = dial_link(self.connection, link_id).values
        self.assertEqual((values.name, values.destinations), ("Shop", "2X 3X"))
        self.assertEqual([row.name for row in find_entries(self.connection, limit=2)], ["Shop", "Sales"])
        bad = dataclasses.replace(SALES, calls_a_day=0)
        self.assertRaises(EditRefused, add_dial_link, self.connection, ANA, NOW, bad, PLACES)
        self.assertRaises(EditRefused, update_dial_link, self.connection, ANA, NOW, link_id, {"calls_a_day": 0}, PLACES)
        self.assertEqual([link.values for link in list_dial_links(self.connection, DAY)], [values, SALES])
        error = self.assertRaises(NotThere, dial_link, self.connection, 99)
        self.assertEqual(str(error), "there is no click-to-dial link 99")

    def test_kinds_of_entries(self) -> None:
        """Each change is in the audit log as one of a link, with its name."""
        link_id = self.number
        update_dial_link(self.connection, ANA, NOW, link_id, {"hours": "mon 9-10"}, PLACES)
        set_dial_link_enabled(self.connection, ANA, NOW, link_id, False)
        set_dial_link_enabled(self.connection, ANA, NOW, link_id, True)
        void_dial_link(self.connection, ANA, NOW, link_id)
        delete_dial_link(self.connection, ANA, NOW, link_id)
        found = [(row.action, row.kind, row.name) for row in reversed(find_entries(self.connection))]
        actions = ("create", "update", "disable", "enable", "void", "delete")
        self.assertEqual(found, [(action, "dial_link", "Talk to sales") for action in actions])

    def test_made(self) -> None:
        """A new link is stored and recorded."""
        self.assertEqual(self.link(), DialLink(self.number, SALES, 1, None))
        self.assertEqual(self.last(), ("create", "dial_link", "Talk to sales"))
        first = dataclasses.replace(SALES, name="a first one")
        other = add_dial_link(self.connection, ANA, NOW, first, PLACES)
        self.assertEqual([link.link_id for link in list_dial_links(self.connection, DAY)], [other, self.number])

    def test_changed(self) -> None:
        """Only given values change; nothing is recorded without a change or if it is refused."""
        done = update_dial_link(self.connection, ANA, NOW, self.number, {"name": "Sales"}, PLACES)
        self.assertEqual(self.link().values, dataclasses.replace(SALES, name="Sales"))
        assert done is not None
        self.assertEqual(self.last(), ("update", "dial_link", "Sales"))
        self.assertIsNone(update_dial_link(self.connection, ANA, NOW, self.number, {"name": "Sales "}, PLACES))
        with self.assertRaises(EditRefused):
            update_dial_link(self.connection, ANA, NOW, self.number, {"phone": "x"}, PLACES)
        self.assertEqual(len(find_entries(self.connection)), 2)
        undo(self.connection, ANA, NOW, done)
        self.assertEqual(self.link().values, SALES)

    def test_disabled(self) -> None:
        """A link can be disabled and enabled again."""
        self.assertIsNotNone(set_dial_link_enabled(self.connection, ANA, NOW, self.number, False))
        self.assertEqual((self.link().disabled_at, self.link().enabled), (NOW, False))
        self.assertEqual(self.last()[0], "disable")
        self.assertIsNone(set_dial_link_enabled(self.connection, ANA, NOW + 1, self.number, False))
        set_dial_link_enabled(self.connection, ANA, NOW, self.number, True)
        self.assertEqual((self.link().enabled, self.last()[0]), (True, "enable"))

    def test_void(self) -> None:
        """Voiding a link's URLs begins another generation, which can be undone."""
        done = void_dial_link(self.connection, ANA, NOW, self.number)
        self.assertEqual((self.link().generation > 1, self.last()[0]), (True, "void"))
        assert done is not None
        undo(self.connection, ANA, NOW, done)
        self.assertEqual(self.link().generation, 1)
        update_dial_link(self.connection, ANA, NOW, self.number, {"name": "x"}, PLACES)
        with self.assertRaises(EditConflict):
            undo(self.connection, ANA, NOW, 1)

    def test_the_same_generation_is_drawn(self) -> None:
        """A generation that happens to be the present one is drawn again: the URLs are void in any case."""
        drawn = [0, 0, 41]
        self.patch(secrets, "randbelow", lambda bound: drawn.pop(0))
        void_dial_link(self.connection, ANA, NOW, self.number)
        self.assertEqual((self.link().generation, drawn), (42, []))

    def test_void_is_for_good(self) -> None:
        """URLs signed between a void and its undo stay void after the next one: no generation is used twice."""
        seen = {self.link().generation}
        for _ in range(3):
            done = void_dial_link(self.connection, ANA, NOW, self.number)
            assert done is not None
            self.assertNotIn(self.link().generation, seen)
            seen.add(self.link().generation)
            undo(self.connection, ANA, NOW, done)
        for _ in range(2):
            void_dial_link(self.connection, ANA, NOW, self.number)
            self.assertNotIn(self.link().generation, seen)
            seen.add(self.link().generation)

    def test_deleted(self) -> None:
        """Deleting a link deletes its counts; an undo restores it under its number."""
        take_call(self.connection, self.number, DAY, 5)
        done = delete_dial_link(self.connection, ANA, NOW, self.number)
        self.assertRaises(NotThere, self.link)
        self.assertEqual(self.last(), ("delete", "dial_link", "Talk to sales"))
        assert done is not None
        self.assertEqual(entry(self.connection, done).rows, 1)
        undo(self.connection, ANA, NOW, done)
        self.assertEqual(self.link(), DialLink(self.number, SALES, 1, None))

    def test_not_there(self) -> None:
        """Each function says that a link does not exist."""
        for change in (void_dial_link, delete_dial_link):
            self.assertRaises(NotThere, change, self.connection, ANA, NOW, 99)
        self.assertRaises(NotThere, set_dial_link_enabled, self.connection, ANA, NOW, 2**70, False)
        self.assertRaises(NotThere, update_dial_link, self.connection, ANA, NOW, 99, {}, PLACES)

    def test_calls(self) -> None:
        """A link has as many calls a day as its bound; each day begins at zero."""
        taken = [take_call(self.connection, self.number, DAY, 2) for _ in range(3)]
        self.assertEqual(taken, [True, True, False])
        self.assertEqual(self.link().calls_today, 2)
        self.assertEqual(list_dial_links(self.connection, DAY)[0].calls_today, 2)
        self.assertEqual(dial_link(self.connection, self.number, "2026-11-24").calls_today, 0)
        self.assertTrue(take_call(self.connection, self.number, "2026-11-24", 2))
        give_call_back(self.connection, self.number, DAY)
        self.assertEqual([take_call(self.connection, self.number, DAY, 2) for _ in range(2)], [True, False])

    def test_no_calls(self) -> None:
        """A link that is disabled, deleted or bounded to none has no calls; counts never go below zero."""
        self.assertFalse(take_call(self.connection, 99, DAY, 5))
        self.assertFalse(take_call(self.connection, self.number, DAY, 0))
        set_dial_link_enabled(self.connection, ANA, NOW, self.number, False)
        self.assertFalse(take_call(self.connection, self.number, DAY, 5))
        give_call_back(self.connection, self.number, DAY)
        self.assertEqual(self.link().calls_today, 0)
