"""Reading one value out of one cell: texts, codes, words from a list, numbers, flags, addresses.

A reader takes the cell's text without the white space around it, and returns the value or raises
`Wrong`.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable
from enum import Enum, auto
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email

from pipeline.address import character_name, hidden_character

WHITE_SPACE = " \t\r\n\u00a0"
"""What does not count around a cell; a no-break space comes with text copied from web pages."""


class Holds(Enum):
    """What the cells of a column hold: the values of a spreadsheet are read according to it."""

    TEXT = auto()
    NUMBER = auto()
    FLAG = auto()
    DAY = auto()
    MOMENT = auto()


class Wrong(Exception):
    """Something that cannot be taken; the message is the end of a fault's sentence."""


def shown(value: str, *, limit: int = 80) -> str:
    """A value fit for a sentence: on one line, without hidden characters, not endless."""
    plain = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in value[: limit + 1])
    return plain if len(plain) <= limit else f"{plain[: limit - 3]}..."


@lru_cache(maxsize=1024)  # the same mistake is often made in every row
def near(value: str, known: tuple[str, ...]) -> str | None:
    """The one of `known` that was probably meant by `value`, if any is close."""
    plain = re.sub(r"[\s-]+", "_", value[:100].casefold())
    by_plain = {one.casefold(): one for one in known}
    close = difflib.get_close_matches(plain, by_plain, n=1, cutoff=0.6)
    return by_plain[close[0]] if close else None


def did_you_mean(meant: str | None) -> str:
    """The end of a sentence about an unknown word, with what `near` made of it."""
    return f"; did you mean {meant}?" if meant else "."


def text(limit: int) -> Callable[[str], str]:
    """A reader of texts of at most `limit` characters."""

    def read(value: str) -> str:
        value = _clean(value)
        if len(value) > limit:
            raise Wrong(f"is {len(value):,} characters long; at most {limit:,} are allowed.")
        return value

    return read


def _clean(value: str) -> str:
    """The text as it is to be stored: composed (NFC), and with nothing in it that does not show."""
    if hidden_character(value) is not None:
        place, character = next(
            (place, one) for place, one in enumerate(value, start=1) if hidden_character(one)
        )
        raise Wrong(
            f"character {place} is {character_name(character)}, which does not show; "
            + (
                "a cell holds one line; give each paragraph a row of its own."
                if character in "\r\n\v\f\x85\u2028\u2029"
                else "remove it."
            )
        )
    if value.isascii():
        return value
    if (lost := value.find("\ufffd")) >= 0:
        raise Wrong(
            f"character {lost + 1} is REPLACEMENT CHARACTER (U+FFFD): a letter was lost when the "
            "text was converted; type it again."
        )
    if (intended := _misread(value)) is not None:
        raise Wrong(
            f"“{shown(value)}” is UTF-8 that was read as Windows-1252 and saved again; "
            f"it was probably “{shown(intended)}”."
        )
    return unicodedata.normalize("NFC", value)


def _misread(value: str) -> str | None:
    """What `value` was before it was decoded wrongly ("SiÃ¢n" was "Siân"), or None if it is not."""
    try:
        intended = value.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return None
    return intended if intended != value else None


def code(value: str) -> str:
    """An authority's code."""
    value = _clean(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", value):
        raise Wrong(
            f"“{shown(value)}” is not a code: 1 to 40 letters, digits, hyphens, dots and "
            "underscores, such as E07000243."
        )
    return value


def one_of(values: tuple[str, ...]) -> Callable[[str], str]:
    """A reader of words from a list, which must be written exactly as they are there."""

    def read(value: str) -> str:
        if value not in values:
            raise Wrong(
                f"“{shown(value)}” is not one of {', '.join(values)}"
                + did_you_mean(near(value, values))
            )
        return value

    return read


def number(least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers within bounds, both included."""

    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
            raise Wrong(
                f"“{shown(value)}” is not a whole number from {least} to {most}, "
                "in digits without signs, commas or points."
            )
        return int(value)

    return read


def flag(value: str) -> bool:
    """Yes or no, written as 1 or 0."""
    if value in ("0", "1"):
        return value == "1"
    meant = {"yes": 1, "y": 1, "true": 1, "no": 0, "n": 0, "false": 0}.get(value.casefold())
    raise Wrong(
        f"“{shown(value)}” is neither 0 nor 1" + (f"; write {meant}." if meant is not None else ".")
    )


def address(value: str) -> str:
    """One email address, its domain in ASCII.

    The common mistakes are looked for first, because the validator's own words for them do not say
    what to do; what is left is the validator's to judge.
    """
    value = _clean(value)
    quoted = f"“{shown(value)}”"
    local, _, host = value.rpartition("@")
    if value.startswith('"'):
        raise Wrong(f"{quoted} has a quoted part before the @, which many mail systems refuse.")
    if "<" in value or ">" in value:
        raise Wrong(f"{quoted} holds a name beside the address; give the address alone.")
    if "," in value or ";" in value or value.count("@") > 1:
        raise Wrong(
            f"{quoted} holds more than one address; a cell holds one. Give whoever else is written "
            "to a row of their own."
        )
    if any(character.isspace() for character in value):
        raise Wrong(f"{quoted} holds a space; an address has none.")
    if value.casefold().startswith("mailto:"):
        raise Wrong(f"{quoted} is a link; give the address without mailto:.")
    if not local.isascii():
        raise Wrong(
            f"{quoted} has letters before the @ that are not plain A to Z; not every mail system "
            "takes them. Ask for an address without accents."
        )
    if host.startswith("["):
        raise Wrong(f"{quoted} names a computer by number instead of a domain; give a domain.")
    try:
        checked = validate_email(
            value,
            allow_smtputf8=False,
            check_deliverability=False,  # an import asks nobody on the network
            test_environment=True,  # .test is for rehearsals
            strict=True,
        )
    except EmailNotValidError as error:
        raise Wrong(f"{quoted} is not an email address: {error}") from None
    ascii_form = checked.ascii_email
    if ascii_form is None or len(ascii_form) > 254 or "." not in checked.ascii_domain:
        raise Wrong(f"{quoted} is not an address that mail can be sent to.")
    return ascii_form
