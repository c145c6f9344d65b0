"""The doctor's look at the prompts: has Asterisk each, in which languages?

AMI does not tell: functions that look at files are refused there, and an Originate that
plays them would be a call. So the folder is looked at where it can be seen from here,
and otherwise a command is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pbxrouter.agi import localised
from pbxrouter.config import Config
from pbxrouter.doctor.finding import Finding, unknown, well, wrong
from pbxrouter.text import Sentence, sentence

FALLBACK: Final = "en"
"""What Asterisk plays where a language lacks a sound."""
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(?:[_-][A-Za-z0-9]+)*")


def look_at_sounds(config: Config, folder: Path | None, area: Sentence) -> Iterator[Finding]:
    """Each prompt, in each language that has a folder there.

    Args:
        folder: Asterisk's sounds; None if Asterisk does not tell where they are.
    """
    names: dict[str, str] = msgspec.structs.asdict(config.prompts)
    if folder is None or not folder.is_dir():
        wanted = ",".join(sorted(localised(name, FALLBACK) for name in names.values()))
        where = folder or Path("/var/lib/asterisk/sounds")
        yield unknown(
            area,
            sentence("the folder {folder} cannot be seen from here", folder=where),
            sentence(
                "on Asterisk's machine: {command}; or tell where it is: --sounds FOLDER",
                command=f"ls {where}/{FALLBACK}/{{{wanted}}}.*",
            ),
        )
        return
    languages = _languages(folder)
    missing = False
    for role, name in names.items():
        setting = f"prompts.{role.replace('_', '-')}"
        for language in languages if "{language}" in name else [FALLBACK]:
            sound = localised(name, language)
            if not _is_there(folder, sound, language):
                missing = True
                yield wrong(
                    area,
                    sentence(
                        "{setting}: there is no sound {sound} in {folder}, nor in {other}",
                        setting=setting,
                        sound=sound,
                        folder=folder,
                        other=folder / language,
                    ),
                    sentence(
                        "install Asterisk's core sounds, put the file there, or change {setting}",
                        setting=setting,
                    ),
                )
    if not missing:
        yield well(
            area,
            sentence("{count} prompts in {folder}, {language}", count=len(names), folder=folder, language=FALLBACK),
        )
    for language in languages:
        lacking = [
            name
            for name in names.values()
            if "{language}" not in name
            and not _file(_place(folder, language), name)
            and _is_there(folder, name, FALLBACK)
        ]
        if lacking and language != FALLBACK and len(lacking) < len(names):
            yield well(
                area,
                sentence(
                    "{language} lacks {sounds}: its callers hear {other}",
                    language=language,
                    sounds=", ".join(lacking),
                    other=FALLBACK,
                ),
            )


def _languages(folder: Path) -> list[str]:
    """The languages that have a folder of their own, English first."""
    found = {
        path.name for path in folder.iterdir() if _LANGUAGE.fullmatch(path.name) and _place(folder, path.name).is_dir()
    }
    return [FALLBACK, *sorted(found - {FALLBACK})]


def _is_there(folder: Path, sound: str, language: str) -> bool:
    """As Asterisk looks: the language, English, the folder itself; all of it for an absolute name."""
    places = [_place(folder, language), _place(folder, FALLBACK), folder]
    return any(_file(place, sound) for place in places)


def _place(folder: Path, language: str) -> Path:
    """A language's folder; where its link counts from another root, Debian's name of the folder beside it."""
    place = folder / language
    if place.is_symlink() and not place.exists():
        return next((path for path in sorted(folder.glob(f"{language}_*")) if path.is_dir()), place)
    return place


def _file(folder: Path, sound: str) -> bool:
    path = folder / sound
    try:
        return any(file.name.startswith(f"{path.name}.") for file in path.parent.iterdir())
    except OSError:
        return False
