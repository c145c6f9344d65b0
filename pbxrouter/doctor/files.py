"""Checks database, rules, PIN key, secrets and drivers.

Nothing is written; a database of an older version is not upgraded.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from pbxrouter import database
from pbxrouter.call import journal_files, read_journal
from pbxrouter.config import Asterisk, Config, Place, beside, read_alarm_secret, read_fastagi_secret
from pbxrouter.database import Connection, dialect_of, lockout_figures
from pbxrouter.database.rules import check_columns, read_rules
from pbxrouter.doctor.finding import AS_OWNER, Finding, ok, unknown, wrong
from pbxrouter.doctor.forwarding import forwarding_options
from pbxrouter.doctor.identity import check_extensions
from pbxrouter.drivers import GROUP, Driver, DriverApplications
from pbxrouter.errors import ConfigError, DatabaseLocked, JournalUnreadable, KeyFileError, PbxrouterError, StoreError
from pbxrouter.rules import Applications, RuleSet, extension_problem
from pbxrouter.security import hash_pin, pins, read_key, weak_pins
from pbxrouter.text import Sentence, sentence, split_asterisk

MAX_NAMED: Final = 20
"""How many mappings that cannot work are named."""
_AGAIN: Final = Sentence("run this again; if it stays locked, find the program that holds it: fuser -v FILE")
_RULES_NOT_CHECKED: Final = unknown(
    Sentence("rules"),
    Sentence("rules, PINs and lock-outs were not checked, since the database cannot be read"),
    Sentence("see database"),
)

Drivers = tuple[Collection[str], tuple[Finding, ...]]
"""The applications of drivers that can be loaded, and findings about the others."""


def check_files(config: Config, drivers: Drivers | None = None) -> Iterator[Finding]:
    """Check the files on this machine.

    Args:
        drivers: the result of load_names; None loads them.
    """
    yield from check_user(config)
    key, finding = _pin_key(Path(config.pin_key_file))
    yield finding
    names = [asterisk.name for asterisk in config.asterisk]
    yield from check_database(config.place, key, drivers or load_names(config), config.trunks, names)
    yield from check_journals(beside(config.place, ""))
    if config.fastagi.secret_file:
        yield from _fastagi_secret(config)
    yield from _alarm(config)
    for asterisk in config.asterisk:
        yield from check_secret(asterisk)


def not_allowed(path: Path) -> Sentence | None:
    """Why this user may not read a file; None if it may, or if the file is not there."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # a named pipe must not hold the doctor up
    except PermissionError as error:
        return sentence("{path} cannot be read by this user: {why}", path=path, why=error.strerror)
    except OSError:
        return None
    return None


def _may(path: Path, mode: int) -> bool:
    """os.access for the user that the process acts for."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def check_user(config: Config) -> Iterator[Finding]:
    """Tell if another user runs the doctor than the gateway: then what the gateway may read was not seen."""
    database_file = [config.place] if isinstance(config.place, Path) else []
    for path in (Path(config.control), *database_file):
        try:
            owner = path.stat().st_uid
        except OSError:
            continue
        if owner != os.geteuid():
            yield unknown(
                Sentence("user"),
                sentence(
                    "{path} belongs to {owner}, and this is run by {user}: whether the gateway's user may read and "
                    "write its files was not checked",
                    path=path,
                    owner=_user_name(owner),
                    user=_user_name(os.geteuid()),
                ),
                sentence("run this as that user: {command}", command=f"sudo -u {_user_name(owner)} pbxrouter doctor"),
            )
        return


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _alarm(config: Config) -> Iterator[Finding]:
    """Check the targets of alarms; nothing is sent."""
    area = Sentence("alarms")
    if config.alarm.command:
        program = config.alarm.command[0]
        why = not_allowed(Path(program).parent)
        if why is not None:
            yield unknown(area, why, AS_OWNER)
        elif os.path.isfile(program) and _may(Path(program), os.X_OK):
            yield ok(area, sentence("command {program}", program=program))
        else:
            yield wrong(
                area,
                sentence("alarm.command: {program} cannot be run", program=program),
                Sentence("name an executable file, and try it by `pbxrouter alarm`"),
            )
    if config.alarm.webhook:
        try:
            read_alarm_secret(config)
        except ConfigError as error:
            yield _unusable(area, error, Path(config.alarm.secret_file))
        else:
            opened = list(_open_to_others(area, Path(config.alarm.secret_file)))
            yield from opened or [ok(area, sentence("webhook, signed with {path}", path=config.alarm.secret_file))]


def _pin_key(path: Path) -> tuple[bytes | None, Finding]:
    try:
        return read_key(path), ok(Sentence("PIN key"), sentence("{path}", path=path))
    except KeyFileError as error:
        return None, _unusable(Sentence("PIN key"), error, path)


def _unusable(area: Sentence, error: PbxrouterError, path: Path) -> Finding:
    """A file that cannot be used: unknown if that is because this user may not read it."""
    why = not_allowed(path)
    return wrong(area, error.sentence) if why is None else unknown(area, why, AS_OWNER)


def load_names(config: Config, found: Iterable[EntryPoint] | None = None) -> Drivers:
    """Load the installed drivers, or those of the given entry points."""
    loaded: dict[str, Driver] = {}
    problems: list[Finding] = []
    for point in entry_points(group=GROUP) if found is None else found:
        name = point.name.lower()
        try:
            driver: Driver = point.load()(config)
        except Exception as error:  # a driver can be any code
            problems.append(
                wrong(
                    Sentence("drivers"),
                    sentence(
                        "{driver} cannot be loaded from {place}: {why}",
                        driver=point.name,
                        place=point.value,
                        why=f"{type(error).__name__}: {error}",
                    ),
                    Sentence("install what it needs, or uninstall its package"),
                )
            )
        else:
            if name in loaded:
                problems.append(
                    wrong(
                        Sentence("drivers"),
                        sentence(
                            "there is a second driver named {driver}: {place}; the first counts",
                            driver=point.name,
                            place=point.value,
                        ),
                        Sentence("uninstall one of the two packages"),
                    )
                )
            loaded.setdefault(name, driver)
    return DriverApplications(loaded), tuple(problems)


def tied_extensions(place: Place) -> Mapping[str, str] | None:
    """By number of an extension, the endpoint that it is tied to; None if the database cannot be read."""
    rules = _rules_of(place)
    return None if rules is None else rules.endpoints


def phones_of(place: Place, asterisk: str) -> Collection[str]:
    """The endpoints of an Asterisk's extensions: those that they are tied to, or else of their own number on PJSIP."""
    rules = _rules_of(place)
    if rules is None:
        return ()
    numbers = {name: split_asterisk(name) for name in rules.extensions}
    return {
        rules.endpoints.get(name, f"PJSIP/{number}") for name, (of, number) in numbers.items() if of in ("", asterisk)
    }


def _rules_of(place: Place) -> RuleSet | None:
    """The rules; None if the database cannot be read."""
    try:
        if database.peek_version(place) != database.SCHEMA_VERSION:
            return None
        with contextlib.closing(database.connect(place)) as connection:
            return read_rules(connection, str)
    except (StoreError, *database.DATABASE_ERRORS):  # check_database reports it
        return None


def check_database(
    place: Place,
    key: bytes | None,
    drivers: Drivers,
    trunks: Collection[str] = (),
    asterisks: Collection[str] | None = None,
) -> Iterator[Finding]:
    """Check the database, its rules, that each mapping has a driver, and who is taken for an extension."""
    applications = Applications.of(drivers[0])
    yield from drivers[1]
    area = Sentence("database")
    why = _not_writable(place) if isinstance(place, Path) else None
    if why is not None:
        yield unknown(area, why, AS_OWNER)
        yield _RULES_NOT_CHECKED
        return
    try:
        version = database.peek_version(place)
        if version is not None and version < database.SCHEMA_VERSION:
            yield unknown(
                Sentence("database"),
                sentence(
                    "{path}: its schema is version {version}, so rules, PINs and lock-outs were not checked",
                    path=place,
                    version=version,
                ),
                sentence(
                    "start the gateway: it brings the database to version {version}",
                    version=database.SCHEMA_VERSION,
                ),
            )
            return
        with contextlib.closing(database.connect(place)) as connection:
            check_columns(connection)
            try:
                _can_be_written(connection, place)
            except DatabaseLocked as error:
                yield unknown(area, error.sentence, _AGAIN)
            else:
                what = sentence("{path}, schema version {version}", path=place, version=database.SCHEMA_VERSION)
                yield ok(area, what)
            yield from _set_aside(place)
            yield from _rules(connection, key, applications, trunks, asterisks)
            yield from _lockouts(connection)
    except (StoreError, *database.DATABASE_ERRORS) as error:
        trouble = error if isinstance(error, StoreError) else database.store_error(error, place)
        if isinstance(trouble, DatabaseLocked):
            yield unknown(area, trouble.sentence, _AGAIN)
        else:
            yield wrong(area, trouble.sentence)
        yield _RULES_NOT_CHECKED


def _not_writable(path: Path) -> Sentence | None:
    """Why this user cannot look into a database that belongs to another; None if it can."""
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        why = not_allowed(file)
        if why is not None:
            return why
        if file.exists() and not _may(file, os.W_OK) and file.stat().st_uid != os.geteuid():
            return sentence("{path} cannot be written by this user, and belongs to another", path=file)
    return None


def _set_aside(place: Place) -> Iterator[Finding]:
    """Tell of rows that could not be written; nothing if there are none."""
    file = database.set_aside_file(place).absolute()
    try:
        with file.open("rb") as lines:
            count = sum(1 for _ in lines)
    except FileNotFoundError:
        return
    except OSError as error:
        why = sentence("{path} cannot be read: {why}", path=file, why=error.strerror)
        yield unknown(Sentence("database"), why, AS_OWNER)
        return
    yield wrong(
        Sentence("database"),
        sentence("rows that could not be written and were set aside in {path}: {count}", path=file, count=count),
        Sentence("each line of the file says why; move it away when that is dealt with"),
    )


def _lockouts(connection: Connection) -> Iterator[Finding]:
    """Tell of callers who are locked out, and of an attack; nothing if there is none."""
    figures = lockout_figures(connection, time.time())
    todo = Sentence("see who by `pbxrouter lockouts`, and in the log")
    if figures.attacked:
        why = sentence("wrong PINs come from many places; callers that are locked out: {count}", count=figures.locked)
        yield wrong(Sentence("PINs"), why, todo)
    elif figures.locked:
        why = sentence("callers that are locked out after wrong PINs: {count}", count=figures.locked)
        yield wrong(Sentence("PINs"), why, todo)


def check_journals(path: Path) -> Iterator[Finding]:
    """Tell of the journals of calls beside the database; nothing if there is none."""
    area = Sentence("call journal")
    for file in journal_files(path):
        try:
            found = read_journal(file)
        except FileNotFoundError:
            continue
        except JournalUnreadable as error:
            yield wrong(
                area,
                sentence("{file} cannot be used: {why}", file=file, why=error.sentence),
                Sentence("move it away; the gateway writes another one"),
            )
            continue
        what = sentence(
            "{file}, {size} kB: calls without an end: {begun}; calls that are over and not in the history yet: {over}",
            file=file,
            size=round(found.size / 1000),
            begun=len(found.begun),
            over=len(found.finished),
        )
        if found.unreadable:
            yield wrong(
                area,
                sentence("{what}; lines that cannot be read: {count}", what=what, count=found.unreadable),
                Sentence("check the disk; calls in those lines are missing from the history"),
            )
        else:
            yield ok(area, what)
        yield from _open_to_others(area, file)


def _can_be_written(connection: Connection, place: Place) -> None:
    try:
        damage = dialect_of(connection).find_damage(connection)
    except database.DATABASE_ERRORS as error:
        raise database.store_error(error, place) from None
    if damage:
        raise StoreError(sentence("database {path} is damaged ({said}): restore a backup", path=place, said=damage))


def _rules(
    connection: Connection,
    key: bytes | None,
    applications: Applications,
    trunks: Collection[str],
    asterisks: Collection[str] | None,
) -> Iterator[Finding]:
    rules = read_rules(connection, functools.partial(pins.hash_pin, key or bytes(32)))
    if key is not None:
        yield from _weak_pins(connection, key)
    else:
        yield unknown(
            Sentence("PINs"),
            Sentence("whether PINs are short or easy to guess was not checked, since the PIN key cannot be read"),
            Sentence("see PIN key"),
        )
    for problem in rules.problems:
        yield wrong(
            Sentence("rules"),
            problem,
            Sentence("correct that row of the database; docs/rules.md explains what is accepted"),
        )
    yield from check_extensions(rules, trunks)
    mappings = connection.execute(
        "SELECT map_id, pattern, application_name FROM applications_mappings"
        " WHERE map_id NOT IN (SELECT map_id FROM mappings_disabled) ORDER BY map_id"
    ).fetchall()
    if not mappings:
        yield wrong(
            Sentence("rules"),
            Sentence("there are no mappings, so every number is invalid"),
            Sentence("type: pbxrouter init --sample, or add yours"),
        )
        return
    lost = [row for row in mappings if str(row[2]).strip().lower() not in applications]
    for map_id, pattern, application in lost:
        yield wrong(
            Sentence("drivers"),
            sentence(
                "mapping {map_id}, {pattern}: no driver provides the application {name}",
                map_id=map_id,
                pattern=pattern,
                name=application,
            ),
            sentence(
                "accepted in application_name are {names}; or install a driver of that name",
                names=", ".join(sorted(applications)),
            ),
        )
    troubles = list(_unworkable(rules, applications, asterisks))
    yield from troubles
    if not rules.problems and not lost and not troubles:
        yield ok(Sentence("rules"), sentence("{count} mappings, each with a driver", count=len(mappings)))


def _unworkable(rules: RuleSet, applications: Applications, asterisks: Collection[str] | None) -> Iterator[Finding]:
    """Mappings whose data their driver cannot use, and extensions whose number no call can show; the first of each."""
    area = Sentence("rules")
    broken = [
        (mapping, why)
        for pattern, mapping in rules.entries.values()
        if mapping.enabled
        and mapping.application.lower() in applications
        and (why := applications.problem(mapping.application, mapping.data, pattern)) is not None
    ]
    for mapping, why in broken[:MAX_NAMED]:
        yield wrong(
            area,
            sentence(
                "mapping {map_id}, {pattern}, cannot work: {why}",
                map_id=mapping.map_id,
                pattern=mapping.pattern,
                why=why,
            ),
            Sentence("correct its application_data; docs/drivers.md has what each application takes"),
        )
    if len(broken) > MAX_NAMED:
        yield wrong(
            area,
            sentence("and {count} more mappings cannot work", count=len(broken) - MAX_NAMED),
            Sentence("the console's page Warnings names them"),
        )
    yield from _options_of_mappings(rules)
    unshown = [why for number in rules.extensions if (why := extension_problem(number, asterisks)) is not None]
    for why in unshown[:MAX_NAMED]:
        yield wrong(area, why, Sentence("correct its extension_number"))


def _options_of_mappings(rules: RuleSet) -> Iterator[Finding]:
    """Name the mappings whose own options of Dial() let parties of a call forward it."""
    named: list[str] = []
    letters: set[str] = set()
    for _, mapping in rules.entries.values():
        found = re.search(r"\soptions=(\S+)", mapping.data) if mapping.enabled else None
        given = forwarding_options(found[1]) if found and mapping.application.lower() == "dial" else set()
        if given:
            named.append(mapping.pattern)
            letters |= given
    if named:
        yield unknown(
            Sentence("rules"),
            sentence(
                "mappings {patterns} have {options} among their options of Dial(): parties of a call, outsiders among "
                "them, can forward it by keys, or go on in the dialplan",
                patterns=", ".join(named[:MAX_NAMED]),
                options=", ".join(sorted(letters)),
            ),
            Sentence("docs/transfers.md tells whom each option lets do what; leave out what is not wanted"),
        )


def _weak_pins(connection: Connection, key: bytes) -> Iterator[Finding]:
    """Users whose PIN is short or obvious: found by hashing all such PINs, which takes a quarter of a second."""
    users = connection.execute("SELECT user_name, user_pin FROM users WHERE user_pin IS NOT NULL")
    stored = {str(hashed): str(name) for name, hashed in users}
    if not stored:
        return
    found = sorted(stored[hashed] for pin in weak_pins() if (hashed := hash_pin(key, pin)) in stored)
    if found:
        yield wrong(
            Sentence("PINs"),
            sentence("PINs that are short or easy to guess: {users}", users=", ".join(found[:20])),
            Sentence("give them new ones: pbxrouter pin USER --generate"),
        )


def check_secret(asterisk: Asterisk) -> Iterator[Finding]:
    """Check that others cannot read the file with an AMI user's secret."""
    if asterisk.secret_file:
        yield from _open_to_others(sentence("AMI {name}", name=asterisk.name), Path(asterisk.secret_file))


def _fastagi_secret(config: Config) -> Iterator[Finding]:
    """Check the file with the secret of FastAGI calls."""
    area = Sentence("FastAGI secret")
    path = Path(config.fastagi.secret_file)
    try:
        read_fastagi_secret(config)
    except ConfigError as error:
        yield _unusable(area, error, path)
    else:
        yield from list(_open_to_others(area, path)) or [ok(area, sentence("{path}", path=path))]


def _open_to_others(area: Sentence, path: Path) -> Iterator[Finding]:
    """Check that only its owner can read a file."""
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        why = sentence("{path} cannot be read by this user: {why}", path=path, why=error.strerror)
        yield unknown(area, why, AS_OWNER)
        return
    except OSError:
        return  # the login reports it
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield wrong(
            area,
            sentence("{path} can be read by other users", path=path),
            sentence("type: chmod 600 {path}", path=path),
        )
