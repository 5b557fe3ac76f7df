"""Reading one date or time out of one cell; both are written as ISO 8601 has them."""

import re
from datetime import UTC, date, datetime

from pipeline.importer.cells import Wrong, shown
from pipeline.london import LONDON


def day(value: str) -> date:
    """Any day that an authority or an officer may begin or end on."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise Wrong(
            f"“{shown(value)}” is not a date as YYYY-MM-DD; write for example {_hint(value)}"
            # A bare number is how a spreadsheet keeps a date.
            + (" (in a spreadsheet, format the column as text)." if value.isdecimal() else ".")
        )
    try:
        found = date.fromisoformat(value)
    except ValueError:
        raise Wrong(f"{value} is not a day of the calendar.") from None
    if not 1000 <= found.year <= 2199:
        raise Wrong(f"{value} lies outside the years 1000 to 2199.")
    return found


def _hint(value: str) -> str:
    """The same date as it should be written, if it is one as the British write it."""
    if british := re.fullmatch(r"([0-9]{1,2})[/.-]([0-9]{1,2})[/.-]([0-9]{4})", value):
        day_of, month, year = (int(part) for part in british.groups())
        if 1 <= month <= 12 and 1 <= day_of <= 31:
            return f"{year:04}-{month:02}-{day_of:02}"
    return "2020-07-22"


def recent_day(value: str) -> date:
    """A day of the Ombudsman's own work."""
    found = day(value)
    if found.year < 1974:
        raise Wrong(f"{value} is before 1974, when there was no Ombudsman; check the year.")
    return found


def moment(value: str) -> datetime:
    """A time in UTC, from one in London or with an offset."""
    shape = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?"
    try:
        if not re.fullmatch(shape, value):
            raise ValueError(value)
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            found = _in_london(found, value)
        found = found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Wrong(
            f"“{shown(value)}” is not a time as YYYY-MM-DDTHH:MM, London time, "
            "or with an offset such as +01:00; write for example 2020-07-22T09:00."
        ) from None
    if not 1974 <= found.year <= 2199:
        raise Wrong(f"{value} lies outside the years 1974 to 2199; check the year.")
    return found


def _in_london(naive: datetime, value: str) -> datetime:
    early = naive.replace(tzinfo=LONDON)
    if early.astimezone(UTC).astimezone(LONDON).replace(tzinfo=None) != naive:
        raise Wrong(f"{value} does not exist in London: the clocks go forward over it.")
    if early.utcoffset() != early.replace(fold=1).utcoffset():
        raise Wrong(f"{value} comes twice in London, when the clocks go back; add an offset.")
    return early
