"""Checks that Asterisk has the sound of each prompt, and in which languages.

AMI cannot tell: it refuses functions that read files, and an Originate that plays a sound would be a
call. The folder is read if it is on this machine; otherwise the finding has a command to type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pbxrouter.agi import localised
from pbxrouter.config import Config
from pbxrouter.doctor.finding import Finding, ok, unknown, wrong
from pbxrouter.text import Sentence, sentence

FALLBACK: Final = "en"
"""The language that Asterisk plays where another lacks a sound."""
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(?:[_-][A-Za-z0-9]+)*")


def check_sounds(config: Config, folder: Path | None, area: Sentence) -> Iterator[Finding]:
    """Check each prompt in each language that has a folder.

    Args:
        folder: Asterisk's sounds; None if Asterisk does not name the folder.
    """
    try:
        yield from list(_check_sounds(config, folder, area))
    except OSError as error:
        yield unknown(
            area,
            sentence("{path} cannot be read: {why}", path=error.filename or folder, why=error.strerror or error),
            Sentence("run this as a user that may read Asterisk's sounds, such as asterisk or root"),
        )


def _check_sounds(config: Config, folder: Path | None, area: Sentence) -> Iterator[Finding]:
    names: dict[str, str] = msgspec.structs.asdict(config.prompts)
    if folder is None or not folder.is_dir():
        wanted = ",".join(sorted(localised(name, FALLBACK) for name in names.values()))
        where = folder or Path("/var/lib/asterisk/sounds")
        yield unknown(
            area,
            sentence("the folder {folder} cannot be seen from here", folder=where),
            sentence(
                "on Asterisk's machine: {command}; or name it: --sounds FOLDER",
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
        yield ok(
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
            yield ok(
                area,
                sentence(
                    "{language} lacks {sounds}: its callers hear {other}",
                    language=language,
                    sounds=", ".join(lacking),
                    other=FALLBACK,
                ),
            )


def _languages(folder: Path) -> list[str]:
    """The languages with a folder, English first."""
    found = {
        path.name for path in folder.iterdir() if _LANGUAGE.fullmatch(path.name) and _place(folder, path.name).is_dir()
    }
    return [FALLBACK, *sorted(found - {FALLBACK})]


def _is_there(folder: Path, sound: str, language: str) -> bool:
    """Whether a sound exists where Asterisk looks: the language, English, the folder itself."""
    places = [_place(folder, language), _place(folder, FALLBACK), folder]
    return any(_file(place, sound) for place in places)


def _place(folder: Path, language: str) -> Path:
    """A language's folder; if its link is broken here, the folder with Debian's name beside it."""
    place = folder / language
    if place.is_symlink() and not place.exists():
        return next((path for path in sorted(folder.glob(f"{language}_*")) if path.is_dir()), place)
    return place


def _file(folder: Path, sound: str) -> bool:
    path = folder / sound
    try:
        return any(file.name.startswith(f"{path.name}.") for file in path.parent.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
