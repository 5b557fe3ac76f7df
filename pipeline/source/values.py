"""Reading one value as the database gives it: dates, texts, words from a list, JSON.

A reader takes whatever the driver returned (SQLite has text where PostgreSQL has dates and JSON,
and a view may have anything) and returns the value or raises `Wrong`.
"""

import difflib
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, date, datetime
from typing import Any

from pipeline.address import hidden_character
from pipeline.london import LONDON

Reader = Callable[[Any], Any]

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")

# Around a text these do not count: columns of a fixed width are padded, and a no-break space comes
# with what was copied from web pages.
_PADDING = " \t\r\n\u00a0"


class Wrong(Exception):
    """A value that cannot be taken: what is wrong with it, and how to put it right.

    Both are parts of a sentence: "authorities.kind `problem` (E07000243)`fix`".
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix


def shown(value: object) -> str:
    """A value fit for a sentence: quoted if it is text, on one line, not endless."""
    plain = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return plain if len(plain) <= 80 else f"{plain[:77]}..."


def alike(value: str) -> str:
    """One spelling for what people take for the same code: case and spaces do not count."""
    return "".join(value.split()).casefold()


def text(value: Any) -> str:
    """A text that may be missing: composed (NFC), without white space around it."""
    return unicodedata.normalize("NFC", exact(value).strip(_PADDING))


def exact(value: Any) -> str:
    """A text that may be missing, as it stands: what the database itself compares."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Wrong(f"holds {shown(value)}", ", which is not text; let the view cast it to text.")
    return value


def needed_text(value: Any) -> str:
    """A text that must be there."""
    if found := text(value):
        return found
    raise Wrong("is empty", "; it must hold a text.")


def printed_text(value: Any) -> str:
    """A text that must be there, and in which everything shows."""
    found = needed_text(value)
    _refuse_hidden(found, "")
    return found


def _refuse_hidden(found: str, within: str) -> None:
    if (hidden := hidden_character(found)) is not None:
        place = next(place for place, one in enumerate(found, start=1) if hidden_character(one))
        problem = f"holds {hidden} as character {place}{within}, which does not show"
        raise Wrong(problem, "; remove it.")


def needed_exact(value: Any) -> str:
    """A text that must be there, as it stands."""
    found = exact(value)
    if not found.strip():
        raise Wrong("is empty", "; it must hold a text.")
    return found


def code(value: Any) -> str:
    """The code of an authority, as it stands."""
    found = needed_exact(value)
    if not _CODE.fullmatch(found):
        spaces = "; let the view trim it." if _CODE.fullmatch(found.strip()) else "; correct it."
        raise Wrong(
            f"holds {shown(found)}",
            ", which is not a code: 1 to 40 letters, digits, hyphens, dots and underscores, such as"
            f" E07000243{spaces}",
        )
    return found


def one_of(known: Collection[str]) -> Callable[[Any], str]:
    """A reader of words from a list, which must be written exactly as they are there."""

    def read(value: Any) -> str:
        if value is None:
            raise Wrong("is empty", f"; it must hold one of {', '.join(known)}.")
        if not isinstance(value, str) or value not in known:
            raise Wrong(
                f"holds {shown(value)}",
                f", which is none of {', '.join(known)}{_did_you_mean(value, known)}",
            )
        return value

    return read


def _did_you_mean(value: object, known: Iterable[str]) -> str:
    by_plain = {one.casefold(): one for one in known}
    plain = re.sub(r"[\s-]+", "_", str(value)[:100].strip().casefold())
    close = difflib.get_close_matches(plain, by_plain, n=1, cutoff=0.6)
    return f"; did you mean {by_plain[close[0]]}?" if close else "; correct it there."


def flag(value: Any) -> bool:
    """Yes or no: a boolean, 1 or 0; missing is no."""
    if value is None or value in (0, 1):  # True, False and Decimal are equal to them
        return bool(value)
    if value in ("0", "1"):
        return bool(value == "1")
    meant = {"yes": 1, "y": 1, "true": 1, "t": 1, "no": 0, "n": 0, "false": 0, "f": 0}.get(
        str(value).strip().casefold()
    )
    raise Wrong(
        f"holds {shown(value)}",
        ", which is neither 0 nor 1"
        + ("; let the view give 0 or 1." if meant is None else f"; did you mean {meant}?"),
    )


def percent(value: Any) -> int:
    """A whole number from 0 to 100, of any numeric type."""
    try:
        whole = int(value)
    except (TypeError, ValueError, OverflowError):
        whole = -1
    if isinstance(value, bool | str) or whole != value or not 0 <= whole <= 100:
        raise Wrong(
            "is empty" if value is None else f"holds {shown(value)}",
            "; it must hold a whole number from 0 to 100.",
        )
    return whole


def day(value: Any) -> date | None:
    """A date that may be missing; of a date with a time, the day."""
    match value:
        case None:
            return None
        case datetime():
            return (value if value.tzinfo is None else value.astimezone(LONDON)).date()
        case date():
            return value
        case str() if _ISO.match(value) and value[10:11] in {"", " ", "T"}:
            try:
                return date.fromisoformat(value[:10])
            except ValueError:
                pass  # 30 February
        case _:
            pass
    raise Wrong(
        f"holds {shown(value)}",
        ", which is not a date; let the view give a date as YYYY-MM-DD, or NULL for none.",
    )


def needed_day(value: Any) -> date:
    """A date that must be there, of an edition."""
    found = near_day(value)
    if found is None:
        raise Wrong("is empty", "; it must hold a date.")
    return found


def near_day(value: Any) -> date | None:
    """A date that may be missing, within a range where days can be added and taken away."""
    found = day(value)
    if found is not None and not 1900 <= found.year <= 2199:
        raise Wrong(f"holds {found}", ", which is not between 1900 and 2199; correct the year.")
    return found


def moment(value: Any) -> datetime | None:
    """A time in UTC that may be missing.

    Without an offset it is London time, as documented; but a text with a space, not a T, between
    date and time is how SQLite keeps what is UTC.
    """
    if value is None:
        return None
    found = value
    if isinstance(value, str) and len(value) > len("2020-07-22"):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            if found.tzinfo is None and value[10] == " ":
                found = found.replace(tzinfo=UTC)
    if not isinstance(found, datetime) or not 1900 <= found.year <= 2199:
        raise Wrong(
            f"holds {shown(value)}",
            ", which is not a time; let the view give one such as 2020-07-22T09:00, or NULL for "
            "nine o'clock on the letter's date.",
        )
    return (found if found.tzinfo else found.replace(tzinfo=LONDON)).astimezone(UTC)


def texts(value: Any) -> list[str]:
    """A list of texts, as JSON or as text that holds JSON."""
    found = _decoded(value)
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        return found
    raise Wrong(_held(value), '; it must be a JSON list of texts, like ["one", "two"].')


def printed_texts(value: Any) -> list[str]:
    """A list of texts, as `texts`, in which everything shows and none is empty."""
    found = [text(one) for one in texts(value)]
    for number, one in enumerate(found, start=1):
        if not one:
            raise Wrong(f"holds an empty text, number {number}", "; leave it out of the list.")
        _refuse_hidden(one, f" of number {number}")
    return found


def roles(known: Collection[str]) -> Callable[[Any], list[str] | None]:
    """A reader of lists of roles that may be missing."""
    role = one_of(known)

    def read(value: Any) -> list[str] | None:
        if _decoded(value) is None:
            return None
        return [role(one) for one in texts(value)]

    return read


def facts(value: Any) -> dict[str, int | str]:
    """The year's facts, as JSON or as text that holds JSON; missing is none."""
    found = _decoded(value)
    if found is None:
        return {}
    if isinstance(found, dict) and all(
        isinstance(fact, int | str) and not isinstance(fact, bool) for fact in found.values()
    ):
        read = {name: text(fact) if isinstance(fact, str) else fact for name, fact in found.items()}
        for name, fact in read.items():
            _refuse_hidden(str(fact), f" of the fact {shown(name)}")
        return read
    raise Wrong(
        _held(value), '; it must be a JSON object of whole numbers and texts, like {"a": 1}.'
    )


def _held(value: object) -> str:
    return "is empty" if value is None else f"holds {shown(value)}"


def _decoded(value: Any) -> Any:
    """JSON from a column that the database itself knows only as text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
