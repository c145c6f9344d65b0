"""The data of mappings to dial: what it makes of a number, and what is refused before any call."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Config, schema
from pbxrouter.drivers.dial import Dial, dial_options
from pbxrouter.drivers.dial_data import substring
from pbxrouter.errors import ApplicationFailed
from tests.hostile_text import TEXTS

SETTINGS = Config(technologies={"SIP": "PJSIP", "Zap": "DAHDI"}, dial=schema.DialSettings(timeout=60))
DIAL = Dial(SETTINGS)


def dialled(data: str, number: str = "5551234", caller: str | None = "33") -> str:
    """The arguments of Dial()."""
    return DIAL.action(data, number, caller).arguments


class Targets(SynchronousTestCase):
    """What data makes of a number."""

    def test_parts_of_a_number(self) -> None:
        """Parts are taken as Asterisk takes them of ${EXTEN}, whose results these are."""
        for offset, length, part in (
            (0, None, "5551234"),
            (1, None, "551234"),
            (-4, None, "1234"),
            (1, 3, "551"),
            (-4, 2, "12"),
            (1, -2, "5512"),
            (-4, -1, "123"),
            (-9, None, "5551234"),
            (9, None, ""),
            (7, None, ""),
            (0, 99, "5551234"),
            (2, -5, ""),
            (2, -9, ""),
            (0, 0, ""),
        ):
            self.assertEqual(substring("5551234", offset, length), part, (offset, length))

    def test_cut_and_prefixed(self) -> None:
        """Templates cut the number and put digits before it."""
        for data, target in (
            ("PJSIP/{number:1}@trunk", "PJSIP/551234@trunk"),
            ("PJSIP/{number:-4}@trunk", "PJSIP/1234@trunk"),
            ("PJSIP/{number:1:3}@trunk", "PJSIP/551@trunk"),
            ("PJSIP/00{number:1}@trunk", "PJSIP/00551234@trunk"),
            ("PJSIP/{number}@{caller:-1}", "PJSIP/5551234@3"),
            ("Zap/g0/w{number:1}", "DAHDI/g0/w551234"),
            ("SIP/{number:1}@a&IAX2/b/{number:2}", "PJSIP/551234@a&IAX2/b/51234"),
        ):
            self.assertEqual((dialled(data), DIAL.data_problem(data)), (f"{target},60,i", None))

    def test_phones(self) -> None:
        """A phone is dialled as it is, and several together; to a line or a peer the number is appended."""
        for data, target in (
            ("PJSIP/21", "PJSIP/21"),
            ("pjsip/21", "pjsip/21"),
            ("SIP/21", "PJSIP/21"),
            ("sip/21", "PJSIP/21"),
            ("PJSIP/21&PJSIP/22", "PJSIP/21&PJSIP/22"),
            ("PJSIP/21 & SIP/22", "PJSIP/21&PJSIP/22"),
            ("Local/21@phones/n", "Local/21@phones/n"),
            ("PJSIP", "PJSIP/5551234"),
            ("SIP&PJSIP/22", "PJSIP/5551234&PJSIP/22"),
            ("Zap/1", "DAHDI/1/5551234"),
            ("IAX2/branch", "IAX2/branch/5551234"),
            ("IAX2/21 append=no", "IAX2/21"),
            ("PJSIP/trunk append=yes", "PJSIP/trunk/5551234"),
        ):
            self.assertEqual((dialled(data), DIAL.data_problem(data)), (f"{target},60,i", None))

    def test_settings(self) -> None:
        """Timeout, options and the number that is shown are of one mapping; option i stays."""
        for data, arguments in (
            ("PJSIP/21 timeout=20", "PJSIP/21,20,i"),
            ("PJSIP/21 options=tT", "PJSIP/21,60,tTi"),
            ("PJSIP/21 options=", "PJSIP/21,60,i"),
            ("PJSIP/21 options=it", "PJSIP/21,60,it"),
            ("PJSIP/21 options=A(a=b)", "PJSIP/21,60,A(a=b)i"),
            (" PJSIP/21 timeout=20\t\r\n", "PJSIP/21,20,i"),
            ("PJSIP/21 options=m(jazz)b(a^b^1(i))", "PJSIP/21,60,m(jazz)b(a^b^1(i))i"),
            ("PJSIP/21 options=b(ctx^s^1(a,b))A(one&two)", "PJSIP/21,60,b(ctx^s^1(a,b))A(one&two)i"),
            ("PJSIP/t/sip:{number}@host;transport=tls;lr", "PJSIP/t/sip:5551234@host;transport=tls;lr,60,i"),
            ("PJSIP/21 callerid=+34911223344", "PJSIP/21,60,if(+34911223344)"),
            ("PJSIP/21 callerid=9112233{caller}", "PJSIP/21,60,if(911223333)"),
            ("PJSIP/{number:1}@t  options=r timeout=5 callerid={number:-2}", "PJSIP/551234@t,5,rif(34)"),
        ):
            self.assertEqual((dialled(data), DIAL.data_problem(data)), (arguments, None))
        forwarding = Dial(Config(dial=schema.DialSettings(forwarding=True, options="t")))
        self.assertEqual(forwarding.action("PJSIP/21 options=r", "5", None).arguments, "PJSIP/21,60,r")

    def test_nothing_left(self) -> None:
        """A call whose number has no such part fails, and so does one without the caller's number."""
        for data in ("PJSIP/{number:1}@trunk", "PJSIP/21 callerid=9{number:1}", "PJSIP/{caller:2}"):
            error = self.assertRaises(ApplicationFailed, dialled, data, "9")
            self.assertIn("nothing is left of", str(error))
        for data in ("PJSIP/{caller:1}", "PJSIP/21 callerid={caller}"):
            for caller in (None, "", "3&PJSIP/1", "3,60,g", "3)g("):
                self.assertIn(
                    "needs the caller's number", str(self.assertRaises(ApplicationFailed, dialled, data, "9", caller))
                )


class Problems(SynchronousTestCase):
    """What is refused, with what is wrong and what is accepted."""

    def problem(self, data: str) -> str:
        """What the driver says of data."""
        found = DIAL.data_problem(data)
        self.assertIsNotNone(found, data)
        return str(found)

    def test_what_is_wrong(self) -> None:
        """Each problem is named, with what is accepted."""
        for data, words in (
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("PJSIP/{nummer}", "accepted are {number} and {caller}"),
            ("PJSIP/{number::3}@t", "accepted are {number} and {caller}"),
            ("PJSIP/{number:x}", "{number:1}"),
            ("PJSIP/{number", "braces"),
            ("PJSIP/number}", "braces"),
            ("{number}", "does not begin with a technology"),
            ("SIP,60", "a comma would begin another argument"),
            ("PJSIP/21,60,tT", "timeout=30 options=tT"),
            ("PJSIP /21", "'/21' is not a setting"),
            ("PJSIP/21 60", "accepted behind a blank are timeout=30"),
            ("PJSIP/2\x001", "cannot be printed"),
            ("PJSIP/2\x1b1", "cannot be printed"),
            ("PJSIP/2\n1", "cannot be printed"),
            ("PJSIP/21&", "is empty"),
            ("&PJSIP/21", "is empty"),
            ("PJSIP/21&&PJSIP/22", "is empty"),
            ("PJSIP/21& &PJSIP/22", "is empty"),
            ("PJSIP/21&22", "'22' is not a technology"),
            ("PJISP/21", "'PJISP' is not a technology"),
            ("21", "accepted are PJSIP, IAX2, DAHDI, Local"),
            ("PJSIP/", "lacks a name"),
            ("PJSIP//21", "lacks a name"),
            ("PJSIP/@trunk", "lacks a name"),
            ("PJSIP/{number}@", "lacks a name"),
            ("/21", "is not a technology"),
            ("PJSIP/21|60", "holds |"),
            ('PJSIP/"21"', 'holds "'),
            ("PJSIP/{number:1:0}", "nothing is left of any number by {number:1:0}"),
            ("PJSIP/{number:80}", "nothing is left of any number"),
            ("PJSIP/{number:-2:-2}", "nothing is left of any number"),
            ("PJSIP/9{number:0:-80}@trunk", "nothing is left of any number"),
            ("PJSIP/{number:41:-40}", "nothing is left of any number"),
            ("PJSIP/21 timeout=0", "whole seconds from 1 to 86400"),
            ("PJSIP/21 timeout=", "whole seconds from 1 to 86400"),
            ("PJSIP/21 timeout=-5", "whole seconds from 1 to 86400"),
            ("PJSIP/21 timeout=99999", "whole seconds from 1 to 86400"),
            ("PJSIP/21 timeout=2m", "whole seconds from 1 to 86400"),
            ("PJSIP/21 timeout=²", "whole seconds from 1 to 86400"),
            ("PJSIP/21 timeout=5 timeout=6", "twice"),
            ("PJSIP/21 timeout=5=6", "timeout=5=6 is not a time"),
            ("PJSIP/21 options=tq", "no option q; accepted are the options of Asterisk's Dial(), such as tT"),
            ("PJSIP/21 options=m(x", "parentheses"),
            ("PJSIP/21 options=m)", "parentheses"),
            ("PJSIP/21 options=tS(x)", "S(x) is no limit of a call's length"),
            ("PJSIP/21 options=S(0)", "accepted are seconds such as S(3600)"),
            (
                "PJSIP/21 options=gL(:60000)",
                "S(3600) and milliseconds such as L(3600000)",
            ),
            ("PJSIP/21 options=t,g", "a sign that options cannot have"),
            ("PJSIP/21 options=A(one),g", "a sign that options cannot have"),
            ("PJSIP/21 options=t)&(", "a sign that options cannot have"),
            ("PJSIP/t/sip:600@host;transport=", "holds ;, which no phone's name has"),
            ("IAX2/t/600;transport=tls", "holds ;, which no phone's name has"),
            ("PJSIP/21 callerid=", "not a number to show"),
            ("PJSIP/21 callerid=33)g(", "not a number to show"),
            ("PJSIP/21 callerid=Ana", "not a number to show; accepted are digits, * # +, {number} and {caller}, or"),
            ("PJSIP/21 callerid=9{caller:80}", "nothing is left of any number by {caller:80}"),
            ("PJSIP/21 callerid=3 options=f(4)", "both say which number"),
            ("PJSIP/21 append=maybe", "accepted are yes and no"),
            ("PJSIP append=no", "names no phone"),
            ("PJSIP/21 color=red", "is not a setting"),
        ):
            self.assertIn(words, self.problem(data), data)
            setting = re.search(r"[a-z]+=\S+", data)
            if setting and data.count("=") == 1 and not re.search("named|names no phone", words):
                self.assertIn(setting[0], self.problem(data), data)

    def test_limits_of_length(self) -> None:
        """A limit of the call's length that Dial() takes is accepted, and no other option's argument taken for one."""
        for options in ("S(30)", "L(60000:30000:10000)", "tS(+5)g", "S", "U(SL(x))", "b(L^S(x))g"):
            self.assertIsNone(DIAL.data_problem(f"PJSIP/21 options={options}"), options)

    def test_hostile(self) -> None:
        """Any text is either refused, or makes one Dial() whose targets and options are those of the data."""
        for text in (raw.decode("utf-8", "surrogateescape") for raw in TEXTS.values()):
            for data in (text, f"PJSIP/{text}", f"PJSIP/21 options={text}", f"PJSIP/21 callerid={text}"):
                if DIAL.data_problem(data) is None:
                    self.assertEqual(dialled(data).count(","), 2)

    def test_technologies_of_the_settings(self) -> None:
        """A technology that the settings name is accepted; a row with another one is left to Asterisk."""
        dial = Dial(Config(technologies={"Foo": "Foo/line"}))
        self.assertIsNone(dial.data_problem("foo"))
        self.assertEqual(dial.action("foo", "5", None).arguments, "Foo/line/5,60,i")
        self.assertEqual(dialled("Bar/x"), "Bar/x/5551234,60,i")


class Options(SynchronousTestCase):
    """The options of Dial()."""

    def test_ignored_forwards(self) -> None:
        """Option i is not taken for given when it is the argument of another option, nor made one."""
        self.assertEqual(dial_options("b(x(i)i)", False), "b(x(i)i)i")
        self.assertEqual(dial_options("m(x", False), "im(x")
