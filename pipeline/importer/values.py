"""Reading one typed value of a spreadsheet as the text that would stand in a CSV file.

A spreadsheet keeps a date as a number and turns what looks like a date or a number into one. What
a value means is taken from its column; what may have lost something on the way is refused.
"""

import math
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from pipeline.importer.cells import Holds, Wrong

_DIGITS = 10**15  # a spreadsheet keeps fifteen digits and fills up with noughts
_MARCH_1900 = 61  # before it, spreadsheets count a 29 February that was not
_LAST_SERIAL = 2_957_003  # 31 December 9999, counted from 1904

FORMULA = Wrong(
    "is a formula, and only values are taken; copy the column and paste it over itself as values "
    "(Paste Special, Values)."
)


def error(value: str) -> Wrong:
    """What is wrong with a cell that shows an error."""
    if value == "#VALUE!":  # also what is made of a number that no calendar reaches
        return Wrong(
            "holds #VALUE!, an error or a number that is no date; type the value, a date for "
            "example as 2020-03-31."
        )
    return Wrong(f"holds the error {value}; put right what it comes from, or type the value.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What a cell holds that is not text, with its number format and the workbook's first day."""

    value: Any
    format: str
    epoch: datetime

    def text(self, holds: Holds) -> str:
        """The text for a column that holds `holds`. Raises Wrong where it is not clear."""
        match self.value:
            case bool():
                return self._truth(self.value, holds)
            case int() | float():
                return self._number(self.value, holds)
            case date():  # and datetime
                return self._day(self.value, holds)
            case time() | timedelta():
                raise Wrong(
                    "holds a time without a day; "
                    + (
                        "type both, as in 2020-07-22 09:00."
                        if holds in {Holds.DAY, Holds.MOMENT}
                        else "format the cell as text and type its content again."
                    )
                )
            case _:
                raise Wrong("holds something that is neither text nor a value; type it again.")

    def _truth(self, value: bool, holds: Holds) -> str:
        if holds is Holds.FLAG:
            return str(int(value))
        shown = str(value).upper()
        raise Wrong(
            f"holds {shown} as a yes or no, which a spreadsheet makes of the word; "
            "format the cell as text and type its content again."
        )

    def _number(self, value: float, holds: Holds) -> str:
        if not math.isfinite(value):
            raise Wrong("holds a number that is too large; type it again.")
        if holds is Holds.NUMBER and "%" in self.format:
            value = round(value * 100, 9)  # what the cell shows before its %
        whole = int(value) == value
        plain = str(int(value)) if whole else repr(value)
        if holds in {Holds.DAY, Holds.MOMENT}:
            raise Wrong(
                f"holds the number {plain} and not a date; format the cell as a date"
                + self._would_be(value)
            )
        if abs(value) >= _DIGITS:
            raise Wrong(
                f"holds a number of more than 15 digits ({plain[:15]}...), which a spreadsheet "
                "rounds; format the cell as text and type it again."
            )
        if holds is Holds.TEXT:
            if not whole:
                raise Wrong(
                    f"holds the number {plain}, of which a spreadsheet drops noughts at the end; "
                    "format the cell as text and type it again."
                )
            if re.fullmatch("0+", self.format):
                return plain.zfill(len(self.format))  # 000000 shows 001234, and that is the code
        return plain

    def _would_be(self, value: float) -> str:
        if not _MARCH_1900 <= value <= _LAST_SERIAL:
            return ", or type it as text, such as 2020-07-22."
        return f", where it would be {self.epoch.date() + timedelta(int(value))}, or type it so."

    def _day(self, value: date, holds: Holds) -> str:
        exact = value if isinstance(value, datetime) else datetime(*value.timetuple()[:3])  # noqa: DTZ001 - a sheet's times have no zone
        if exact < self.epoch:
            raise Wrong(
                "holds a date before the first that a spreadsheet knows; "
                "type it as text, such as 1889-04-01."
            )
        day = exact.date().isoformat()
        match holds:
            case Holds.DAY:
                return day  # of a date with a time, the day
            case Holds.MOMENT:
                timed = exact.time() != time() or "h" in self.format.casefold()
                return exact.isoformat(timespec="seconds") if timed else day
            case Holds.TEXT:
                raise Wrong(
                    f"holds the date {day}, which a spreadsheet makes of what looks like one; "
                    "format the cell as text and type its content again."
                )
            case Holds.NUMBER | Holds.FLAG:
                raise Wrong(
                    f"holds the date {day} where a number is wanted; format the cell as General "
                    "and type the number again."
                )
