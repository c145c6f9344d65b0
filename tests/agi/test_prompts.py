"""Names of sounds: which are accepted, and the channel's language in them."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.prompts import Prompts, is_prompt_name, localised


class Names(SynchronousTestCase):
    """Prompts and their names."""

    def test_defaults(self) -> None:
        """The eleven defaults are names of sounds."""
        names = list(msgspec.structs.asdict(Prompts()).values())
        self.assertEqual(len(names), 11)
        self.assertTrue(all(map(is_prompt_name, names)))

    def test_each_default(self) -> None:
        """Each role has the sound of Asterisk's core set that says it, under its name in the settings."""
        self.assertEqual(
            msgspec.to_builtins(Prompts()),
            {
                "ask-pin": "agent-pass",
                "wrong-pin": "vm-incorrect",
                "invalid-number": "invalid",
                "goodbye": "vm-goodbye",
                "technical-failure": "tt-somethingwrong",
                "ask-number": "vm-enter-num-to-call",
                "new-pin": "vm-newpassword",
                "repeat-pin": "vm-reenterpassword",
                "pins-differ": "vm-mismatch",
                "pin-refused": "vm-invalid-password",
                "pin-changed": "vm-passchanged",
            },
        )

    def test_unknown_role(self) -> None:
        """A role that does not exist is refused in the settings."""
        self.assertRaises(msgspec.ValidationError, msgspec.convert, {"ask-pni": "x"}, Prompts)

    def test_accepted(self) -> None:
        """Accepted are the workshop's names, names with directories and names with the language in them."""
        for name in ("iss_ask_auth_en", "custom/a-b.1", "/var/lib/x", "iss_{language}"):
            self.assertTrue(is_prompt_name(name), name)

    def test_refused(self) -> None:
        """Refused are names that mean more to Playback(), or that leave the directory."""
        for name in ("", "a b", "a&b", "a,noanswer", "../x", "a/..", 'a"', "a\n", "a\\b", "ñ"):
            self.assertFalse(is_prompt_name(name), name)

    def test_language(self) -> None:
        """The channel's language is put in where the name asks for it, and only if it is a plain code."""
        self.assertEqual(localised("vm-goodbye", "es"), "vm-goodbye")
        self.assertEqual(localised("iss_{language}_x", "es"), "iss_es_x")
        self.assertEqual(localised("{language}/x_{language}", "pt_BR-x1"), "pt_BR-x1/x_pt_BR-x1")
        self.assertEqual(localised("iss_{language}", "x" * 20), "iss_" + "x" * 20)
        for language in ("", "../x", "a b", "x" * 21):
            self.assertEqual(localised("iss_{language}", language), "iss_en")
