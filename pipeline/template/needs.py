"""What a template needs of a letter's fields."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.errors import LetterFault
from pipeline.template.vocabulary import PERCENT, TWELVE_O_CLOCK, short

# Control characters (of which only tab and line break can be printed), those that turn the reading
# direction, half surrogates and non-characters: XML cannot hold most of them.
UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


_FULL_TURN: Final = 360 * 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The names a template uses, by what it does with them; each with the place of its first use.

    `rings` are the figures that are drawn.
    """

    printed: Mapping[str, str]
    repeated: Mapping[str, str]
    tested: Mapping[str, str]
    rings: frozenset[str]

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            printed={**other.printed, **self.printed},
            repeated={**other.repeated, **self.repeated},
            tested={**other.tested, **self.tested},
            rings=self.rings | other.rings,
        )

    @property
    def used(self) -> frozenset[str]:
        """The dotted names of all fields that must be there."""
        rings = {f"{figure}.{PERCENT}" for figure in self.rings}
        return frozenset({*self.printed, *self.repeated, *self.tested, *rings})

    def context(self, fields: Mapping[str, object]) -> dict[str, Any]:
        """Return what the template gets to see: its own fields, plain, and the rings' angles."""
        for name, place in self.printed.items():
            value = _field(fields, name)
            if type(value) is str:
                _refuse_unprintable(name, value)
            elif type(value) is not int:
                raise LetterFault(
                    f"The field {name} is {_kind(value)} and cannot be printed as {place} asks;"
                    " it must be text or a whole number."
                )
        for name, place in self.repeated.items():
            value = _field(fields, name)
            if not isinstance(value, list | tuple) or any(type(each) is not str for each in value):
                raise LetterFault(
                    f"The field {name} is {_kind(value)} and cannot be repeated as {place} asks;"
                    " it must be a list of texts."
                )
            for each in value:
                _refuse_unprintable(name, each)
        for name in self.tested:
            value = _field(fields, name)
            if type(value) not in (str, int, bool, list, tuple):
                raise LetterFault(f"The field {name} is {_kind(value)}, not a plain value.")
        context = {name.partition(".")[0]: None for name in self.used}
        return {
            **{top: fields[top] for top in context},
            **{end_of(figure): _ring_end(fields, figure) for figure in self.rings},
        }


def _field(fields: Mapping[str, object], name: str) -> object:
    value: object = fields
    for step in name.split("."):
        if not isinstance(value, Mapping) or step not in value:
            raise LetterFault(f"The letter has no field {name}, which the template uses.")
        value = value[step]
    if value is None:
        raise LetterFault(f"The letter's field {name}, which the template uses, is empty.")
    return value


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a group of fields"
        case _:
            return f"of the kind {type(value).__name__}"


def _refuse_unprintable(name: str, value: str) -> None:
    if found := UNPRINTABLE.search(value):
        raise LetterFault(
            f"The field {name} holds the character U+{ord(found[0]):04X} (after"
            f" “{short(value[: found.start()])}”), which cannot be printed; take it out of the"
            " data."
        )


def _ring_end(fields: Mapping[str, object], figure: str) -> int:
    percent = _field(fields, f"{figure}.{PERCENT}")
    if type(percent) is not int or not 0 <= percent <= 100:
        raise LetterFault(
            f"The field {figure}.{PERCENT} is {percent!r}; a ring needs a whole number from 0 to"
            " 100."
        )
    return (TWELVE_O_CLOCK + percent * _FULL_TURN // 100) % _FULL_TURN


def end_of(figure: str) -> str:
    """The name under which the template sees the angle at which a figure's arc ends."""
    return f"_end_of_{figure.replace('.', '_')}"
