"""Sound names: which are taken, and a channel's language in them."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.prompts import Prompts, is_prompt_name, localised


class Names(SynchronousTestCase):
    """What Asterisk can be asked for."""

    def test_defaults(self) -> None:
        """All six are names."""
        names = list(msgspec.structs.asdict(Prompts()).values())
        self.assertEqual(len(names), 6)
        self.assertTrue(all(map(is_prompt_name, names)))

    def test_taken(self) -> None:
        """The workshop's, those in folders, those with the language in them."""
        for name in ("iss_ask_auth_en", "custom/a-b.1", "/var/lib/x", "iss_{language}"):
            self.assertTrue(is_prompt_name(name), name)

    def test_refused(self) -> None:
        """What would say more to Asterisk than a name, or leave its folder."""
        for name in ("", "a b", "a&b", "a,noanswer", "../x", "a/..", 'a"', "a\n", "a\\b", "ñ"):
            self.assertFalse(is_prompt_name(name), name)

    def test_language(self) -> None:
        """Put in where asked for, and only if it is one."""
        self.assertEqual(localised("vm-goodbye", "es"), "vm-goodbye")
        self.assertEqual(localised("iss_{language}_x", "es"), "iss_es_x")
        for language in ("", "../x", "a b", "x" * 21):
            self.assertEqual(localised("iss_{language}", language), "iss_en")
