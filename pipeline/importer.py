"""CSV files into the statistics tables: everything that is right, or nothing and every reason why.

`read_folder` reads and checks files without touching a database; `load` checks them against each
other and against what is already stored, and stores them in one transaction; `import_folder` does
both and reports the faults of both at once. docs/data.md describes the format for whoever supplies
the data.
"""

import csv
import difflib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from email_validator import EmailNotValidError, validate_email

from pipeline import schema
from pipeline.database import Database
from pipeline.errors import BadData
from pipeline.letter import CHIEF_EXECUTIVE, KINDS, MEASURES, NOUNS, OUTCOMES, ROLES

_LONDON = ZoneInfo("Europe/London")
_FILE_LIMIT = 512 * 1024 * 1024
_LINE_LIMIT = 1024 * 1024
_CHUNK = 5_000  # rows per statement: large enough to be quick, small enough for any driver
_WHITE_SPACE = " \t\r\n\u00a0"

Row = Mapping[str, Any]


class _Wrong(ValueError):
    """A cell that cannot be taken; the message is the end of a fault's sentence."""


# What a cell may hold -------------------------------------------------------------------------

_CONTROL_NAMES = {
    "\0": "NULL",
    "\t": "TAB",
    "\n": "LINE FEED",
    "\v": "VERTICAL TAB",
    "\f": "FORM FEED",
    "\r": "CARRIAGE RETURN",
    "\x1b": "ESCAPE",
    "\x7f": "DELETE",
    "\x85": "NEXT LINE",
}
_INVISIBLE = {
    "Cc": "CONTROL CHARACTER",
    "Cf": "FORMAT CHARACTER",
    "Cn": "UNASSIGNED CHARACTER",
    "Co": "PRIVATE USE CHARACTER",
    "Cs": "SURROGATE",
    "Zl": "LINE SEPARATOR",
    "Zp": "PARAGRAPH SEPARATOR",
}
"""Categories of Unicode that do not show, with what to call a character that has no name."""


def _clean(value: str) -> str:
    """The text as it is to be stored: composed (NFC), and with nothing in it that does not show."""
    if not value.isprintable():
        for place, character in enumerate(value, start=1):
            if (unnamed := _INVISIBLE.get(unicodedata.category(character))) is not None:
                name = unicodedata.name(character, _CONTROL_NAMES.get(character, unnamed))
                advice = (
                    "a cell holds one line; give each paragraph a row of its own"
                    if character in "\r\n\v\f\x85\u2028\u2029"
                    else "remove it"
                )
                raise _Wrong(
                    f"character {place} is {name} (U+{ord(character):04X}), which does not show; "
                    f"{advice}."
                )
    if value.isascii():
        return value
    if (lost := value.find("\ufffd")) >= 0:
        raise _Wrong(
            f"character {lost + 1} is REPLACEMENT CHARACTER (U+FFFD): a letter was lost when the "
            "text was converted; type it again."
        )
    if (intended := _misread(value)) is not None:
        raise _Wrong(
            f"“{_shown(value)}” is UTF-8 that was read as Windows-1252 and saved again; "
            f"it was probably “{_shown(intended)}”."
        )
    return unicodedata.normalize("NFC", value)


def _misread(value: str) -> str | None:
    """What `value` was before it was decoded wrongly ("SiÃ¢n" was "Siân"), or None if it is not."""
    try:
        intended = value.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return None
    return intended if intended != value else None


def _text(limit: int) -> Callable[[str], str]:
    def read(value: str) -> str:
        value = _clean(value)
        if len(value) > limit:
            raise _Wrong(f"is {len(value):,} characters long; at most {limit:,} are allowed.")
        return value

    return read


def _code(value: str) -> str:
    value = _clean(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", value):
        raise _Wrong(
            f"“{_shown(value)}” is not a code: 1 to 40 letters, digits, hyphens, dots and "
            "underscores, such as E07000243."
        )
    return value


@lru_cache(maxsize=1024)  # the same mistake is often made in every row
def _near(value: str, known: tuple[str, ...]) -> str:
    """ "; did you mean …?" for a value that is close to a known one, otherwise nothing."""
    plain = re.sub(r"[\s-]+", "_", value[:100].casefold())
    close = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _one_of(values: Sequence[str]) -> Callable[[str], str]:
    by_plain = {value.casefold(): value for value in values}

    def read(value: str) -> str:
        if value in values:
            return value
        near = _near(value, tuple(by_plain))
        for plain, proper in by_plain.items():
            near = near.replace(f" {plain}?", f" {proper}?")
        raise _Wrong(f"“{_shown(value)}” is not one of {', '.join(values)}{near or '.'}")

    return read


def _shown(value: str) -> str:
    """A value fit for a sentence: on one line, without hidden characters, not endless."""
    plain = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in value)
    return plain if len(plain) <= 80 else f"{plain[:77]}..."


def _date(value: str) -> date:
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            day = date.fromisoformat(value)
        except ValueError:
            raise _Wrong(f"{value} is not a day of the calendar.") from None
        if not 1000 <= day.year <= 2199:
            raise _Wrong(f"{value} lies outside the years 1000 to 2199.")
        return day
    hint = "2020-07-22"
    if british := re.fullmatch(r"([0-9]{1,2})[/.-]([0-9]{1,2})[/.-]([0-9]{4})", value):
        day_of, month, year = (int(part) for part in british.groups())
        if 1 <= month <= 12 and 1 <= day_of <= 31:
            hint = f"{year:04}-{month:02}-{day_of:02}"
    raise _Wrong(
        f"“{_shown(value)}” is not a date as YYYY-MM-DD; write for example {hint}"
        + (" (in a spreadsheet, format the column as text)." if value.isdecimal() else ".")
    )


def _recent_date(value: str) -> date:
    day = _date(value)
    if day.year < 1974:
        raise _Wrong(f"{value} is before 1974, when there was no Ombudsman; check the year.")
    return day


def _time(value: str) -> datetime:
    shape = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?"
    problem = (
        f"“{_shown(value)}” is not a time as YYYY-MM-DDTHH:MM, London time, "
        "or with an offset such as +01:00; write for example 2020-07-22T09:00."
    )
    if not re.fullmatch(shape, value):
        raise _Wrong(problem)
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        early = moment.replace(tzinfo=_LONDON)
        if early.astimezone(UTC).astimezone(_LONDON).replace(tzinfo=None) != moment:
            raise _Wrong(f"{value} does not exist in London: the clocks go forward over it.")
        if early.utcoffset() != early.replace(fold=1).utcoffset():
            raise _Wrong(f"{value} comes twice in London, when the clocks go back; add an offset.")
        return early.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise error if isinstance(error, _Wrong) else _Wrong(problem) from None


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
            raise _Wrong(
                f"“{_shown(value)}” is not a whole number from {least} to {most}, "
                "in digits without signs, commas or points."
            )
        return int(value)

    return read


def _flag(value: str) -> bool:
    if value in ("0", "1"):
        return value == "1"
    meant = {"yes": 1, "y": 1, "true": 1, "no": 0, "n": 0, "false": 0}.get(value.casefold())
    raise _Wrong(
        f"“{_shown(value)}” is neither 0 nor 1"
        + (f"; write {meant}." if meant is not None else ".")
    )


def _address(value: str) -> str:
    value = _clean(value)
    shown = f"“{_shown(value)}”"
    local, _, host = value.rpartition("@")
    if value.startswith('"'):
        raise _Wrong(f"{shown} has a quoted part before the @, which many mail systems refuse.")
    if "<" in value or ">" in value:
        raise _Wrong(f"{shown} holds a name beside the address; give the address alone.")
    if "," in value or ";" in value or value.count("@") > 1:
        raise _Wrong(
            f"{shown} holds more than one address; a cell holds one. Give whoever else is written "
            "to a row of their own."
        )
    if any(character.isspace() for character in value):
        raise _Wrong(f"{shown} holds a space; an address has none.")
    if value.casefold().startswith("mailto:"):
        raise _Wrong(f"{shown} is a link; give the address without mailto:.")
    if not local.isascii():
        raise _Wrong(
            f"{shown} has letters before the @ that are not plain A to Z; not every mail system "
            "takes them. Ask for an address without accents."
        )
    if host.startswith("["):
        raise _Wrong(f"{shown} names a computer by number instead of a domain; give a domain.")
    try:
        checked = validate_email(
            value,
            allow_smtputf8=False,
            check_deliverability=False,  # an import asks nobody on the network
            test_environment=True,  # .test is for rehearsals
            strict=True,
        )
    except EmailNotValidError as error:
        raise _Wrong(f"{shown} is not an email address: {error}") from None
    address = checked.ascii_email
    if address is None or len(address) > 254 or "." not in checked.ascii_domain:
        raise _Wrong(f"{shown} is not an address that mail can be sent to.")
    return address


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if name in seen:
            raise _Wrong(f"gives “{_shown(name)}” twice.")
        seen[name] = value
    return seen


def _json(value: str, example: str) -> Any:
    try:
        return json.loads(value, object_pairs_hook=_no_repeats)
    except _Wrong:
        raise
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        raise _Wrong(
            f"“{_shown(value)}” is not JSON{where}; write for example {example} with straight "
            "quotation marks."
        ) from None


def _json_texts(value: str) -> list[str]:
    example = '["Ombudsman", "Chair"]'
    found = _json(value, example)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise _Wrong(f"“{_shown(value)}” is not a JSON list of texts, such as {example}.")
    texts = [_text(200)(one.strip(_WHITE_SPACE)) for one in found]
    if not all(texts):
        raise _Wrong("holds an empty text; leave it out of the list.")
    return texts


def _json_roles(value: str) -> list[str]:
    found = _json_texts(value)
    roles = [_one_of(ROLES)(one) for one in found]
    if CHIEF_EXECUTIVE in roles:
        raise _Wrong(f"holds {CHIEF_EXECUTIVE}, who is written to and needs no copy; take it out.")
    if len(set(roles)) < len(roles):
        raise _Wrong("holds a role twice.")
    return roles


def _json_facts(value: str) -> dict[str, int | str]:
    example = '{"delegates": 178, "people": 1400}'
    found = _json(value, example)
    if not isinstance(found, dict):
        raise _Wrong(f"“{_shown(value)}” is not a JSON object, such as {example}.")
    for name in found:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,59}", name) or hasattr(dict, name):
            raise _Wrong(
                f"“{_shown(name)}” cannot be a fact's name in a template; use a word such as "
                "delegates or more_courses (letters, digits and underscores)."
            )
    return {name: _fact(name, fact) for name, fact in found.items()}


def _fact(name: str, fact: object) -> int | str:
    if isinstance(fact, str):
        return _text(500)(fact.strip(_WHITE_SPACE))
    if isinstance(fact, int) and not isinstance(fact, bool) and abs(fact) < 10**15:
        return fact
    raise _Wrong(
        f"the fact {name} is neither a whole number nor a text; "
        "write a number with a fraction as a text."
    )


# What the files hold --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One column: how its cells are read, and whether they or the whole column may be missing.

    `blank` is what an empty cell means where it may be empty.
    """

    name: str
    read: Callable[[str], Any]
    may_be_empty: bool = False
    may_be_absent: bool = False
    blank: Any = None


def _column(name: str, read: Callable[[str], Any]) -> _Column:
    return _Column(name=name, read=read)


def _empty(name: str, read: Callable[[str], Any]) -> _Column:
    return _Column(name=name, read=read, may_be_empty=True)


def _optional(name: str, read: Callable[[str], Any], blank: Any = None) -> _Column:
    return _Column(name=name, read=read, may_be_empty=True, may_be_absent=True, blank=blank)


def _check_authority(row: Row) -> Iterator[tuple[str, str]]:
    yield from _check_active(row)
    if row["successor_code"] is not None and row["successor_code"] == row["code"]:
        yield "successor_code", "an authority cannot be its own successor."


def _check_active(row: Row) -> Iterator[tuple[str, str]]:
    start, end = row["active_from"], row["active_to"]
    if start is not None and end is not None and end < start:
        yield "active_to", f"{end} is before active_from, {start}."


def _check_officer(row: Row) -> Iterator[tuple[str, str]]:
    yield from _check_active(row)
    if row["honorific"] and not (row["given_name"] or row["family_name"]):
        yield (
            "honorific",
            f"“{row['honorific']}” stands without a name; give the name, "
            "or leave all three empty if the post is vacant.",
        )


def _check_decision(row: Row) -> Iterator[tuple[str, str]]:
    if row["received_on"] > row["decided_on"]:
        yield "decided_on", f"{row['decided_on']} is before received_on, {row['received_on']}."
    if row["remedied_early"] and row["outcome"] != "upheld":
        yield (
            "remedied_early",
            f"is 1, but the outcome is {row['outcome']}; only an upheld case counts as remedied.",
        )


def _check_edition(row: Row) -> Iterator[tuple[str, str]]:
    if row["period_end"] < row["period_start"]:
        yield (
            "period_end",
            f"{row['period_end']} is before period_start, {row['period_start']}.",
        )
    sent_on = row["letter_date"]
    if row["dispatch_at"] is not None:
        sent_on = row["dispatch_at"].astimezone(_LONDON).date()
    if row["prepare_on"] is not None and row["prepare_on"] > sent_on:
        yield (
            "prepare_on",
            f"{row['prepare_on']} is after {sent_on}, when the letters are to be sent.",
        )


def _nothing(_row: Row) -> Iterator[tuple[str, str]]:
    yield from ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Relation:
    """One file and its table; `key` says which row is which, `check` compares a row's cells."""

    table: sa.Table
    columns: tuple[_Column, ...]
    key: tuple[str, ...]
    check: Callable[[Row], Iterator[tuple[str, str]]] = _nothing

    @property
    def name(self) -> str:
        return str(self.table.name)

    @property
    def file(self) -> str:
        return f"{self.name}.csv"


def _alike(value: Any) -> Any:
    """One spelling for what people take for the same code or case: case and spaces do not count."""
    return "".join(value.split()).casefold() if isinstance(value, str) else value


_RELATIONS: tuple[_Relation, ...] = (
    _Relation(
        table=schema.authorities,
        columns=(
            _column("code", _code),
            _column("name", _text(200)),
            _column("kind", _one_of(KINDS)),
            _optional("noun", _one_of(NOUNS), blank=NOUNS[0]),
            _optional("active_from", _date),
            _optional("active_to", _date),
            _optional("successor_code", _code),
        ),
        key=("code",),
        check=_check_authority,
    ),
    _Relation(
        table=schema.officers,
        columns=(
            _column("authority_code", _code),
            _column("role", _one_of(ROLES)),
            _optional("honorific", _text(50)),
            _empty("given_name", _text(100)),
            _empty("family_name", _text(100)),
            _empty("post", _text(200)),
            _empty("email", _address),
            _optional("active_from", _date),
            _optional("active_to", _date),
        ),
        # Two people may hold a post jointly and share its mailbox, so the names are part of it.
        key=("authority_code", "role", "email", "active_from", "given_name", "family_name"),
        check=_check_officer,
    ),
    _Relation(
        table=schema.decisions,
        columns=(
            _column("case_reference", _text(60)),
            _column("authority_code", _code),
            _column("received_on", _recent_date),
            _column("decided_on", _recent_date),
            _column("category", _text(200)),
            _column("outcome", _one_of(OUTCOMES["decisions"])),
            _optional("remedied_early", _flag, blank=False),
        ),
        key=("case_reference",),
        check=_check_decision,
    ),
    _Relation(
        table=schema.compliance,
        columns=(
            _column("case_reference", _text(60)),
            _column("authority_code", _code),
            _column("recorded_on", _recent_date),
            _column("outcome", _one_of(OUTCOMES["compliance"])),
        ),
        key=("case_reference",),
    ),
    _Relation(
        table=schema.remarks,
        columns=(
            _column("year", _number(1975, 2199)),
            _column("authority_code", _code),
            _column("position", _number(0, 999)),
            _column("text", _text(5_000)),
        ),
        key=("year", "authority_code", "position"),
    ),
    _Relation(
        table=schema.editions,
        columns=(
            _column("year", _number(1975, 2199)),
            _column("letter_date", _recent_date),
            _column("published_on", _recent_date),
            _column("period_start", _recent_date),
            _column("period_end", _recent_date),
            _column("signatory", _text(200)),
            _column("signatory_posts", _json_texts),
            _optional("facts", _json_facts, blank={}),
            _optional("copied_roles", _json_roles),
            _optional("prepare_on", _recent_date),
            _optional("dispatch_at", _time),
        ),
        key=("year",),
        check=_check_edition,
    ),
    _Relation(
        table=schema.published_averages,
        columns=(
            _column("year", _number(1975, 2199)),
            _column("kind", _one_of(KINDS)),
            _column("measure", _one_of(MEASURES)),
            _column("percent", _number(0, 100)),
        ),
        key=("year", "kind", "measure"),
    ),
)
_BY_FILE = {relation.file: relation for relation in _RELATIONS}

FILES: tuple[str, ...] = tuple(_BY_FILE)
"""The files that a folder may hold."""


# Reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one file, checked, with the line that each began on."""

    rows: tuple[Row, ...]
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What a folder holds, by relation; a relation without a file is not there.

    `notes` are sentences about what was left aside or looks odd, and is no fault.
    """

    relations: Mapping[str, Rows]
    notes: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Reading:
    """What is known while files are read; `codes` includes those of rows with faults elsewhere."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    relations: dict[str, Rows] = field(default_factory=dict)
    codes: set[str] = field(default_factory=set)
    register_unread: bool = False


def read_folder(folder: Path) -> Tables:
    """Read and check the CSV files in `folder`.

    Raises BadData with every fault of every file. What one file says about another (codes of
    authorities, for instance) is checked by `load`, which also knows what is already stored.
    """
    reading = _read(folder)
    if reading.faults:
        raise _bad(folder, reading.faults)
    return Tables(relations=reading.relations, notes=tuple(reading.notes))


def _bad(where: Path | None, faults: Sequence[str]) -> BadData:
    number = "1 fault" if len(faults) == 1 else f"{len(faults):,} faults"
    place = f" in {where}" if where is not None else ""
    return BadData(f"Nothing was imported: {number}{place}.", faults)


def _read(folder: Path) -> _Reading:
    reading = _Reading()
    files = _files(folder, reading)
    for relation in _RELATIONS:
        if relation.file in files:
            _read_file(files[relation.file], relation, reading)
    for row in reading.relations.get("editions", Rows(rows=(), lines=())).rows:
        if row["period_end"].year != row["year"]:
            reading.notes.append(
                f"editions.csv: the period of the letter of {row['year']} ends on "
                f"{row['period_end']}; the letter of 2020 is about a period that ends in 2020."
            )
    return reading


def _files(folder: Path, reading: _Reading) -> dict[str, Path]:
    """The files in a folder that are known by name; the others are noted."""
    if folder.is_file():
        if folder.suffix.casefold() in {".xlsx", ".xls", ".xlsm", ".ods"}:
            what = "a workbook; save each of its sheets as “CSV UTF-8” into a folder"
        else:
            what = "a file"
        raise BadData(f"{folder} is {what}. Give the folder that holds {_listed()}.", ())
    if not folder.is_dir():
        raise BadData(f"There is no folder {folder}.", ())
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "~$")))
    except OSError as error:
        raise BadData(f"The folder {folder} cannot be read: {error.strerror}.", ()) from error
    for path in found:
        if path.name not in _BY_FILE:
            near = _near(path.name, FILES) if path.suffix.casefold() == ".csv" else ""
            reading.notes.append(f"{_shown(path.name)} is ignored{near or '.'}")
    known = {path.name: path for path in found if path.name in _BY_FILE}
    if not known:
        raise BadData(
            f"The folder {folder} holds none of the files {_listed()}.", tuple(reading.notes)
        )
    return known


def _listed() -> str:
    return f"{', '.join(FILES[:-1])} or {FILES[-1]}"


def _read_file(path: Path, relation: _Relation, reading: _Reading) -> None:
    """Add one file's rows to `reading`, or its faults."""
    before = len(reading.faults)
    try:
        _refuse_what_is_no_csv(path)
        with _Lines(path) as lines:
            try:
                _read_rows(relation, lines, reading)
            finally:
                if (wrong_bytes := lines.wrong) is not None:
                    reading.faults.insert(before, f"{relation.file}, {wrong_bytes}")
    except _Wrong as wrong:
        reading.faults.append(f"{relation.file}{wrong}")
    except OSError as error:
        reading.faults.append(f"{relation.file} cannot be read: {error.strerror}.")
    if relation.table is schema.authorities and relation.name not in reading.relations:
        reading.register_unread = True


def _refuse_what_is_no_csv(path: Path) -> None:
    if not path.is_file():
        raise _Wrong(" is not a file.")
    size = path.stat().st_size
    if size == 0:
        raise _Wrong(" is empty; its first line must name its columns.")
    if size > _FILE_LIMIT:
        raise _Wrong(
            f" is {size // 1_000_000:,} MB long; at most {_FILE_LIMIT // 1_000_000:,} MB "
            "are read. Split it and import one part after the other."
        )
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise _Wrong(
            " is a workbook that was named .csv; open it in the spreadsheet program and save it "
            "as “CSV UTF-8”."
        )
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _Wrong(" is encoded as UTF-16 (“Unicode text”); save it as “CSV UTF-8”.")


class _Lines:
    """The lines of a file, decoded; `wrong` says where it was not UTF-8, as far as it was read."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._first: str | None = None
        self._bad = 0

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def wrong(self) -> str | None:
        """One sentence about all lines that were not UTF-8."""
        if self._first is None or self._bad == 1:
            return self._first
        others = f"{self._bad - 1:,} more {'line is' if self._bad == 2 else 'lines are'}"
        return f"{self._first} ({others} like it.)"

    def __iter__(self) -> Iterator[str]:
        number = 0
        while line := self._file.readline(_LINE_LIMIT + 1):
            number += 1
            if len(line) > _LINE_LIMIT:
                raise _Wrong(
                    f", line {number}: is over {_LINE_LIMIT // 1024:,} KB long; "
                    "this is not a table in CSV."
                )
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                self._bad += 1
                if self._first is None:
                    byte = line[error.start]
                    guess = bytes([byte]).decode("cp1252", errors="replace")
                    self._first = (
                        f"line {number}: the byte 0x{byte:02X} is not UTF-8; it looks like "
                        f"Windows-1252, where it is “{guess}”. Save the file as “CSV UTF-8”."
                    )
                # Read on for the other faults, with a stand-in that any cell of text may hold:
                # what is wrong with this line has been said.
                yield line.decode("utf-8", errors="replace").replace("\ufffd", "x")


def _records(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Each row's first line number and cells; skips the empty rows that spreadsheets leave."""
    reader = csv.reader(lines, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            text = str(error)
            if "new-line" in text:
                reason = "the line endings are those of old Macintosh files; save it as “CSV UTF-8”"
            elif "unexpected end" in text or "field larger" in text:
                reason = "a quotation mark is opened and never closed"
            else:
                reason = (
                    "a quotation mark stands within a cell; "
                    'put the cell within quotation marks and double those inside it: "the ""old"""'
                )
            raise _Wrong(f", line {first}: {reason}. Nothing after it was read.") from None
        if any(cell.strip(_WHITE_SPACE) for cell in cells):
            yield first, cells


def _read_rows(relation: _Relation, lines: Iterable[str], reading: _Reading) -> None:
    records = _records(lines)
    header = next(records, None)
    if header is None:
        raise _Wrong(" is empty; its first line must name its columns.")
    places = _columns(relation, header[1])
    rows: list[Row] = []
    starts: list[int] = []
    seen: dict[tuple[Any, ...], tuple[int, Row]] = {}
    width = len(places)
    for line, cells in records:
        if len(cells) != width and any(cells[width:]):
            reading.faults.append(
                f"{relation.file}, line {line}: has {len(cells)} cells where the first line names "
                f"{width} columns; put a text that holds a comma within quotation marks."
            )
            continue
        if len(cells) < width:
            reading.faults.append(
                f"{relation.file}, line {line}: has only {len(cells)} cells where the first line "
                f"names {width} columns."
            )
            continue
        row, wrong = _read_row(relation, places, cells)
        if relation.table is schema.authorities and "code" in row:
            reading.codes.add(row["code"])
        if not wrong:
            wrong = list(relation.check(row))
        if all(column in row for column in relation.key):
            key = tuple(_alike(row[column]) for column in relation.key)
            first, other = seen.setdefault(key, (line, row))
            if first != line:
                wrong.append((relation.key[0], _repeated(relation, row, first, other)))
        reading.faults += [
            f"{relation.file}, line {line}, column {column}: {reason}" for column, reason in wrong
        ]
        if not wrong:
            rows.append(row)
            starts.append(line)
    reading.relations[relation.name] = Rows(rows=tuple(rows), lines=tuple(starts))


def _repeated(relation: _Relation, row: Row, first: int, other: Row) -> str:
    if relation.table is schema.officers:
        return f"the same officer in the same role is on line {first}; keep one of the two."
    key, before = (" ".join(str(one[column]) for column in relation.key) for one in (row, other))
    spelt = "" if key == before else f", written {before}"
    return f"{key} is already on line {first}{spelt}; keep one of the two."


def _columns(relation: _Relation, header: Sequence[str]) -> dict[str, int]:
    """Where each column stands. Raises _Wrong with all that is the matter with the first line."""
    names = [name.strip(_WHITE_SPACE) for name in header]
    while names and not names[-1]:
        names.pop()  # empty columns at the end, as spreadsheets leave them
    for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and separator in names[0]:
            raise _Wrong(
                f", line 1: the columns are separated by {called}; save the file with commas."
            )
    known = {column.name: column for column in relation.columns}
    problems: list[str] = []
    missing = [name for name, column in known.items() if not column.may_be_absent]
    missing = [name for name in missing if name not in names]
    meant: set[str] = set()
    for place, name in enumerate(names, start=1):
        if not name:
            problems.append(f"column {place} has no name")
        elif name not in known:
            near = _near(name, tuple(other for other in known if other not in names))
            meant |= {other for other in known if near.endswith(f" {other}?")}
            problems.append(
                f"there is no column “{_shown(name)}”{near.removesuffix('?')}"
                if near
                else f"there is no column “{_shown(name)}” in this file"
            )
        elif names.index(name) != place - 1:
            problems.append(f"the column {name} is there twice")
    problems += [f"the column {name} is missing" for name in missing if name not in meant]
    if problems:
        required = ", ".join(c.name for c in relation.columns if not c.may_be_absent)
        optional = ", ".join(c.name for c in relation.columns if c.may_be_absent)
        raise _Wrong(
            f", line 1: {'; '.join(problems)}. The columns are {required}"
            + (f" and, if wanted, {optional}." if optional else ".")
        )
    return {name: place for place, name in enumerate(names)}


def _read_row(
    relation: _Relation, places: Mapping[str, int], cells: Sequence[str]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The values that could be read, and what is wrong with the others."""
    row: dict[str, Any] = {}
    wrong: list[tuple[str, str]] = []
    for column in relation.columns:
        place = places.get(column.name)
        cell = cells[place].strip(_WHITE_SPACE) if place is not None else ""
        if not cell:
            if column.may_be_empty:
                row[column.name] = column.blank
            else:
                wrong.append((column.name, "is empty."))
            continue
        try:
            row[column.name] = column.read(cell)
        except _Wrong as reason:
            wrong.append((column.name, str(reason)))
    return row, wrong


# Storing --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What became of one relation's rows; `removed` is 0 unless a replacement was asked for."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What an import did, by relation, and sentences about what a person should look at."""

    counts: Mapping[str, Counted]
    notes: tuple[str, ...] = ()


def import_folder(db: Database, folder: Path, *, replace: bool = False) -> Loaded:
    """Read `folder` and store what it holds, everything or nothing; see `load`.

    Raises BadData with every fault, those within the files and those between them.
    """
    reading = _read(folder)
    tables = Tables(relations=reading.relations, notes=tuple(reading.notes))
    if not reading.faults:
        return load(db, tables, replace=replace)
    with db.read() as connection:
        faults = _Storing(connection, tables, replace=replace, also_known=reading.codes)
        if not reading.register_unread:  # otherwise every code would seem unknown
            reading.faults += faults.check()
    raise _bad(folder, reading.faults)


def load(db: Database, tables: Tables, *, replace: bool = False) -> Loaded:
    """Store `tables` in one transaction: everything or nothing.

    A row with the key of one that is already there replaces it. Rows that the files do not hold
    stay, unless `replace` is given: then each relation that has a file holds exactly that file's
    rows afterwards.

    Raises BadData with every fault found between the files or against what is stored.
    """
    with db.write() as connection:
        if not db.is_sqlite:  # one import at a time, as on SQLite; readers are not held up
            names = ", ".join(relation.name for relation in _RELATIONS)
            connection.execute(sa.text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))
        storing = _Storing(connection, tables, replace=replace)
        if faults := storing.check():
            raise _bad(None, faults)
        counts = {
            relation.name: storing.store(relation)
            for relation in _RELATIONS
            if relation.name in tables.relations
        }
    return Loaded(counts=counts, notes=(*tables.notes, *storing.notes))


@dataclass(slots=True, kw_only=True)
class _Change:
    """What has to be done to one table. Updates and removals name the stored row by `_key`."""

    added: list[dict[str, Any]] = field(default_factory=list)
    replaced: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)
    unchanged: int = 0


class _Storing:
    """One import against one database, within one transaction."""

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        *,
        replace: bool,
        also_known: Iterable[str] = (),
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._replace = replace
        self._also_known = frozenset(also_known)
        self._changes: dict[str, _Change] = {}
        self.notes: list[str] = []

    def _given(self, table: sa.Table) -> Iterator[tuple[int, Row]]:
        """The rows of a relation's file with their lines; nothing if it has no file."""
        if (rows := self._tables.relations.get(str(table.name))) is not None:
            yield from zip(rows.lines, rows.rows, strict=True)

    def _kept(self, table: sa.Table) -> bool:
        """Whether rows that are stored, and not in the files, will still be there afterwards."""
        return not (self._replace and str(table.name) in self._tables.relations)

    def check(self) -> list[str]:
        """Every fault between the files, or against what is stored."""
        faults = self._check_codes()
        faults += self._check_cases()
        for relation in _RELATIONS:
            if relation.name in self._tables.relations:
                self._changes[relation.name] = (
                    self._compare_officers(relation, faults)
                    if relation.table is schema.officers
                    else self._compare(relation)
                )
        return faults

    def _check_codes(self) -> list[str]:
        table = schema.authorities
        stored: set[str] = set(self._connection.scalars(sa.select(table.c.code)))
        given = {row["code"] for _, row in self._given(table)} | self._also_known
        known = given | (stored if self._kept(table) else set())
        spelt = {_alike(code): code for code in known}
        faults = []
        if self._kept(table):
            stored_as = {_alike(code): code for code in stored}
            for line, row in self._given(table):
                other = stored_as.get(_alike(row["code"]))
                if other is not None and other != row["code"]:
                    faults.append(
                        f"authorities.csv, line {line}, column code: {row['code']} is stored as "
                        f"{other}; write it in the same way."
                    )
        for relation in _RELATIONS:
            column = (
                "successor_code"
                if relation.table is table
                else "authority_code"
                if "authority_code" in relation.table.c
                else None
            )
            if column is None or relation.name not in self._tables.relations:
                continue
            if not known and self._tables.relations[relation.name].rows:
                faults.append(
                    f"{relation.file}: no authority is known yet; "
                    "import authorities.csv first or together with it."
                )
                continue
            for line, row in self._given(relation.table):
                if (code := row[column]) is not None and code not in known:
                    near = spelt.get(_alike(code))
                    faults.append(
                        f"{relation.file}, line {line}, column {column}: there is no authority "
                        f"{code}"
                        + (f"; did you mean {near}?" if near else "; add it to authorities.csv.")
                    )
        if not self._kept(table):
            faults += self._check_orphans(stored - known)
        return faults

    def _check_orphans(self, gone: set[str]) -> list[str]:
        """Rows that stay, of authorities that a replacement of the register would take away."""
        faults = []
        for relation in _RELATIONS:
            if "authority_code" not in relation.table.c or not self._kept(relation.table):
                continue
            column = relation.table.c.authority_code
            used = set(self._connection.scalars(sa.select(column).distinct()))
            faults += [
                f"authorities.csv: {code} is left out, but {relation.name} that are stored refer "
                f"to it; keep it with an active_to, or replace {relation.file} as well."
                for code in sorted(used & gone)
            ]
        return faults

    def _check_cases(self) -> list[str]:
        """A case belongs to one authority, and is spelt in one way."""
        faults = []
        owners: dict[str, dict[str, str]] = {}
        for table in (schema.decisions, schema.compliance):
            if not {"decisions", "compliance"} & set(self._tables.relations):
                return []
            stored: dict[str, str] = {}
            if self._kept(table):
                stored = {
                    row.case_reference: row.authority_code
                    for row in self._connection.execute(
                        sa.select(table.c.case_reference, table.c.authority_code)
                    )
                }
            spelt = {_alike(reference): reference for reference in stored}
            for line, row in self._given(table):
                reference = row["case_reference"]
                other = spelt.get(_alike(reference), reference)
                if other != reference:
                    faults.append(
                        f"{table.name}.csv, line {line}, column case_reference: {reference} is "
                        f"stored as {other}; write it in the same way."
                    )
                stored[reference] = row["authority_code"]
            owners[str(table.name)] = stored
        for table, others in (
            (schema.compliance, owners["decisions"]),
            (schema.decisions, owners["compliance"]),
        ):
            if table is schema.decisions and "compliance" in self._tables.relations:
                continue  # already said, at the line in compliance.csv
            for line, row in self._given(table):
                owner = others.get(row["case_reference"])
                if owner is not None and owner != row["authority_code"]:
                    elsewhere = "decisions" if table is schema.compliance else "compliance"
                    faults.append(
                        f"{table.name}.csv, line {line}, column authority_code: "
                        f"{row['case_reference']} belongs to {row['authority_code']} here and to "
                        f"{owner} in {elsewhere}."
                    )
        return faults

    def _compare(self, relation: _Relation) -> _Change:
        """What differs between a file and its table, by the key."""
        change = _Change()
        names = [column.name for column in relation.columns]
        columns = [relation.table.c[name] for name in names]
        stored = {
            tuple(row[name] for name in relation.key): dict(row)
            for row in self._connection.execute(sa.select(*columns)).mappings()
        }
        for _, row in self._given(relation.table):
            key = tuple(row[name] for name in relation.key)
            before = stored.pop(key, None)
            if before is None:
                change.added.append(dict(row))
            elif before == row:
                change.unchanged += 1
            else:
                change.replaced.append({**row, **_named(relation.key, key)})
        if self._replace:
            change.removed = [_named(relation.key, key) for key in stored]
        return change

    def _compare_officers(self, relation: _Relation, faults: list[str]) -> _Change:
        """As `_compare`, for rows that have no key of their own.

        The same authority, role, address and first day is the same post. Within it people are told
        apart by name, so that two can hold it jointly with one mailbox; a single other name is a
        correction, or a successor at the office's address.
        """
        change = _Change()
        names = [column.name for column in relation.columns]
        table = relation.table
        stored: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for one in self._connection.execute(sa.select(table).order_by(table.c.id)).mappings():
            stored[_post(dict(one))].append(dict(one))
        given: dict[tuple[Any, ...], list[tuple[int, Row]]] = defaultdict(list)
        for line, row in self._given(table):
            given[_post(row)].append((line, row))
        for post, people in given.items():
            before = stored.pop(post, [])
            pairs, unclear = _paired(before, [row for _, row in people])
            if unclear and not self._replace:
                held = ", ".join(" ".join(filter(None, _name(one))) or "nobody" for one in before)
                faults.append(
                    f"{relation.file}, line {people[0][0]}, column email: several people are "
                    f"stored for this role at this address ({held}), and it is not clear whom "
                    "this row replaces; give a row for each who stays."
                )
            for old, row in pairs:
                if old is None:
                    change.added.append(dict(row))
                elif all(old[name] == row[name] for name in names):
                    change.unchanged += 1
                else:
                    change.replaced.append({**row, "_id": old["id"]})
            stored[post] = [one for one in before if all(one is not old for old, _ in pairs)]
        left = [one for people_left in stored.values() for one in people_left]
        if self._replace:
            change.removed = [{"_id": one["id"]} for one in left]
        else:
            self._note_overlaps(left)
        return change

    def _note_overlaps(self, left: Sequence[Row]) -> None:
        """A chief executive who was stored before and is still in post would get the letter too."""
        chiefs = [row for _, row in self._given(schema.officers) if row["role"] == CHIEF_EXECUTIVE]
        new: dict[str, list[Row]] = defaultdict(list)
        for row in chiefs:
            new[row["authority_code"]].append(row)
        for old in left:
            if old["role"] != CHIEF_EXECUTIVE:
                continue
            for row in new.get(old["authority_code"], ()):
                if _overlap(old, row):
                    self.notes.append(
                        f"{row['authority_code']} has two chief executives at the same time, "
                        f"{_who(old)} and {_who(row)}: letters name both and go to both. If one "
                        "has left, import that row again with its active_to."
                    )

    def store(self, relation: _Relation) -> Counted:
        """Do what `check` found to be done to one table."""
        change, table = self._changes[relation.name], relation.table
        key = ("id",) if table is schema.officers else relation.key
        names = [column.name for column in relation.columns if column.name not in key]
        which = sa.and_(*(table.c[name] == sa.bindparam(f"_{name}") for name in key))
        update = table.update().where(which).values({n: sa.bindparam(n) for n in names})
        if change.removed:
            self._each(table.delete().where(which), change.removed)
        self._each(
            update,
            [
                {k: v for k, v in row.items() if k[0] == "_" or k in names}
                for row in change.replaced
            ],
        )
        self._each(table.insert(), change.added)
        return Counted(
            added=len(change.added),
            replaced=len(change.replaced),
            unchanged=change.unchanged,
            removed=len(change.removed),
        )

    def _each(self, statement: sa.Executable, rows: Sequence[dict[str, Any]]) -> None:
        for start in range(0, len(rows), _CHUNK):
            self._connection.execute(statement, rows[start : start + _CHUNK])


def _named(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {f"_{name}": value for name, value in zip(names, values, strict=True)}


def _post(row: Row) -> tuple[Any, ...]:
    return (row["authority_code"], row["role"], _alike(row["email"]), row["active_from"])


def _name(row: Row) -> tuple[str, str]:
    return row["given_name"] or "", row["family_name"] or ""


def _paired(
    before: Sequence[Row], people: Sequence[Row]
) -> tuple[list[tuple[Row | None, Row]], bool]:
    """Each row of a post with the stored one that it replaces, or None if it is new.

    By name first; then, in order, whoever is left. The flag says that then more are left of the
    stored rows than of the new ones, so that nobody can say which of them is meant.
    """
    left = list(before)
    pairs: list[tuple[Row | None, Row]] = []
    renamed: list[Row] = []
    for row in people:
        same = next((one for one in left if _name(one) == _name(row)), None)
        if same is None:
            renamed.append(row)
        else:
            left.remove(same)
            pairs.append((same, row))
    unclear = bool(renamed) and len(left) > len(renamed)
    pairs += [(left.pop(0) if left else None, row) for row in renamed]
    return pairs, unclear


def _who(row: Row) -> str:
    named = " ".join(filter(None, (row["honorific"], *_name(row)))) or "nobody by name"
    return f"{named} ({row['email'] or 'no address'})"


def _overlap(one: Row, other: Row) -> bool:
    starts = [day for day in (one["active_from"], other["active_from"]) if day is not None]
    ends = [day for day in (one["active_to"], other["active_to"]) if day is not None]
    return not starts or not ends or max(starts) <= min(ends)
