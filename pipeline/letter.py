"""From one authority's year to one letter: who is written to, and every word that varies.

`compose` is pure: the same record, edition and averages always give the same letter. What it
returns is frozen in the ledger before anything is rendered, so a letter can be made again from it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from pipeline.address import ascii_address
from pipeline.address import hidden_character as hidden_character  # noqa: PLC0414 - by this name too
from pipeline.errors import LetterFault
from pipeline.figures import Counts, Rate

PEER_KINDS = ("county", "district", "metropolitan", "unitary", "london_borough")
"""Kinds of authority that are compared with the others of their kind."""

KINDS = (
    *PEER_KINDS,
    "national_park",
    "fire",
    "combined",
    "transport",
    "waste",
    "police",
    "other",
)
NOUNS = ("Council", "Authority")
CHIEF_EXECUTIVE = "chief_executive"
ROLES = (CHIEF_EXECUTIVE, "link_officer", "monitoring_officer", "leader", "scrutiny_chair")
OUTCOMES = {
    "decisions": (
        "upheld",
        "not_upheld",
        "advice_given",
        "referred_back",
        "closed_after_initial_enquiries",
        "incomplete_or_invalid",
    ),
    "compliance": ("complied", "complied_late", "not_complied"),
}
MEASURES = ("upheld", "compliance", "remedy")

_PANEL = {
    "rated": "whether there is anything to divide by",
    "percent": "the rate, e.g. 45%; empty if not rated",
    "percent_number": "the rate as a number, for the ring",
    "compared": "whether there is an average to compare with",
    "average": "the average of similar authorities, e.g. 45%; empty if not compared",
    "part": "the count in the box",
    "part_label": "what the box counts, singular or plural",
    "whole": "the count the statistics are based on",
    "whole_label": "what that counts, singular or plural",
}

CASES: Mapping[str, Sequence[str]] = {
    "decisions": (
        "case_reference",
        "received_on",
        "decided_on",
        "category",
        "outcome",
        "remedied_early",
        "authority_code",
    ),
    "compliance": ("case_reference", "recorded_on", "outcome", "authority_code"),
}
"""What may be enclosed, a workbook for each, and its columns in the statistics; the last says whose
a row is and is not printed."""


def digest_of(cases: Sequence[Sequence[Any]]) -> str:
    """The SHA-256 in hex of rows to enclose, the same for the same rows however they are kept."""
    return hashlib.sha256(json.dumps([list(one) for one in cases]).encode("ascii")).hexdigest()


MERGE_FIELDS: Mapping[str, str] = {
    "letter_date": "the date of the letter, e.g. 22 July 2020",
    "letter_year": "the year of the letter, e.g. 2020",
    "address_lines": "list: name, post and authority of whoever is written to",
    "salutation": "how they are greeted, without Dear, e.g. Mr Partridge",
    "authority": "the authority that the letter is about",
    "noun": "Council or Authority",
    "succession": "one sentence if the authority has been abolished, otherwise empty",
    "replaces": "one sentence if the letter replaces one that was sent, otherwise empty",
    "enclosures": "what is attached beside the letter, in sentences; empty if nothing is",
    "period_start": "first day of the period, e.g. 1 April 2019",
    "period_end": "last day of the period, e.g. 31 March 2020",
    "period_end_short": "last day of the period, e.g. 31/03/20",
    "published_on": "the date of publication, e.g. 29 July 2020",
    "facts.*": "the year's facts, by the names the edition gives them",
    "remarks": "list: paragraphs for this authority alone",
    "signatory": "who signs",
    "signatory_posts": "list: the signatory's posts",
    **{f"{panel}.{name}": text for panel in MEASURES for name, text in _PANEL.items()},
}
"""Every name that a template may use, with what it holds. `facts.*` stands for any fact."""

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

# Titles that are used with the given name.
_KNIGHTLY = ("Sir", "Dame")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A council or other body, as the register has it; `active_to` is its last day."""

    code: str
    name: str
    kind: str
    noun: str = "Council"
    active_from: date | None = None
    active_to: date | None = None
    successor_code: str | None = None

    def active_on(self, day: date) -> bool:
        """Whether it exists on `day`; a missing bound is unbounded."""
        return (self.active_from is None or self.active_from <= day) and (
            self.active_to is None or day <= self.active_to
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Officer:
    """Who is written to. No names: the post is vacant and is written to as a post."""

    role: str
    honorific: str = ""
    given_name: str = ""
    family_name: str = ""
    post: str = ""
    email: str = ""

    @property
    def name(self) -> str:
        """As in an address block: Ms Alex Jones; empty for a vacant post."""
        if not (self.given_name.strip() or self.family_name.strip()):
            return ""
        parts = (self.honorific, self.given_name, self.family_name)
        return " ".join(part for part in parts if part.strip())

    @property
    def title(self) -> str:
        """The post, or the role in words where the register has no post."""
        return self.post if self.post.strip() else self.role.replace("_", " ").title()

    @property
    def greeting(self) -> str:
        """After Dear: Ms Jones, Alex Jones, Dame Alex, or the post where nobody holds it."""
        if not self.name:
            return self.title
        if self.honorific in _KNIGHTLY and self.given_name:
            return f"{self.honorific} {self.given_name}"
        if self.honorific:
            return f"{self.honorific} {self.family_name or self.given_name}"
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One year's letters: dates, signatory, the year's facts. `dispatch_at` is aware."""

    year: int
    letter_date: date
    published_on: date
    period_start: date
    period_end: date
    signatory: str
    signatory_posts: Sequence[str]
    facts: Mapping[str, int | str] = field(default_factory=dict)
    copied_roles: Sequence[str] = ("link_officer",)
    enclosures: Sequence[str] = ()
    prepare_on: date
    dispatch_at: datetime


Averages = Mapping[str, Mapping[str, int | None]]
"""By kind and measure: whole per cent, None where there is nothing to divide by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that was pulled about one authority's year.

    `addressee` is the authority itself, or the one that took over from it; `officers` are the
    addressee's officers in force on the letter's date, in the order in which they are named.
    `cases` are the rows to enclose, by what they are, as CASES names their columns.
    """

    authority: Authority
    addressee: Authority
    officers: Sequence[Officer]
    counts: Counts
    remarks: Sequence[str] = ()
    cases: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One letter, composed: plain values only, so that it can be frozen as JSON.

    `enclosures` are the rows that go with it, by what they are.

    `fault` says why it cannot be made; then `fields` and `recipients` are empty, and what does not
    show in the name is replaced, so that it can be listed.
    """

    authority_code: str
    authority_name: str
    kind: str
    fields: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, int | None]]
    recipients: Sequence[Mapping[str, Any]]
    fault: str | None = None
    enclosures: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict)


def compose(record: Record, edition: Edition, averages: Averages) -> Letter:
    """One authority's letter from its record, the edition and the averages of its kind.

    What is wrong with this letter alone (no address, impossible counts, hidden characters) comes
    back as its `fault`, all of it, and never as an exception: the other letters go on.
    """
    authority = record.authority
    faults: list[str] = []
    fields: dict[str, Any] = {}
    figures: dict[str, dict[str, int | None]] = {}
    recipients: list[dict[str, Any]] = []
    chiefs = [officer for officer in record.officers if officer.role == CHIEF_EXECUTIVE]
    copied = [
        officer
        for role in edition.copied_roles
        for officer in record.officers
        if officer.role == role and officer.role != CHIEF_EXECUTIVE
    ]
    with _noted(faults):
        figures = _figures(record, averages.get(authority.kind, {}))
    faults.extend(_text_faults(record, [*chiefs, *copied]))
    with _noted(faults):
        _refuse_addressees(record, edition, chiefs)
    faults.extend(_address_faults(record, chiefs, copied))
    if not faults:
        with _noted(faults):
            fields = _fields(record, edition, chiefs) | _panels(figures)
            _refuse_hidden(fields, "")
            recipients = _recipients(chiefs, copied)
    if faults:
        fields, recipients = {}, []
    return Letter(
        authority_code=authority.code,
        # Shown to people wherever the letter is listed, so nothing in it may be hidden there.
        authority_name=authority.name if not faults else _shown(authority.name),
        kind=authority.kind,
        fields=fields,
        figures=figures,
        recipients=recipients,
        fault=" ".join(faults) or None,
        enclosures={} if faults else record.cases,
    )


@contextmanager
def _noted(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except LetterFault as fault:
        faults.append(str(fault))


def _shown(text: str) -> str:
    """The text with a replacement character wherever it holds one that does not show."""
    return "".join("\ufffd" if hidden_character(one) else one for one in text)


def _refuse_addressees(record: Record, edition: Edition, chiefs: Sequence[Officer]) -> None:
    """Refuse nobody to write to, and rows that cannot be of people who hold a post together."""
    authority, day = record.authority, long_date(edition.letter_date)
    if not authority.active_on(edition.letter_date) and record.addressee is authority:
        raise LetterFault(
            f"{_named(authority)} does not exist on {day}, and its line of successors in the"
            " authorities table leads to nobody; correct successor_code."
        )
    if not chiefs:
        raise LetterFault(
            f"{_named(record.addressee)} has no chief executive in the officers table on {day}; add"
            " a row with the role chief_executive and an address (without names if the post is"
            " vacant)."
        )
    names = [officer.name for officer in chiefs]
    whose = f"of {_named(record.addressee)} on {day}"
    if len(names) > 1 and "" in names:
        raise LetterFault(
            f"The officers table has {len(names)} chief executives {whose}, one of them without a"
            " name, as of a vacant post; end the row that is over with active_to."
        )
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise LetterFault(
            f"The officers table has {_shown(twice)} twice as chief executive {whose}; leave one"
            " row, or end the other with active_to."
        )


def _named(authority: Authority) -> str:
    return _shown(authority.name) if authority.name.strip() else authority.code


def _text_faults(record: Record, officers: Sequence[Officer]) -> Iterator[str]:
    """What is wrong with the words that come from this authority's own rows, and where."""
    authority, to = record.authority, record.addressee
    for one in [authority] if to is authority else [authority, to]:
        if not one.name.strip():
            yield f"authorities.name is empty ({one.code}); fill in the name that is to be printed."
        yield from _hidden("authorities.name", one.code, one.name)
    for officer in officers:
        whose = f"{officer.role} of {to.code}"
        for column in ("honorific", "given_name", "family_name", "post"):
            yield from _hidden(f"officers.{column}", whose, getattr(officer, column))
        if officer.honorific.strip() and not officer.name:
            yield (
                f"officers.honorific holds {_shown(officer.honorific)!r} without a name beside it"
                f" ({whose}); give the name, or leave all three empty if the post is vacant."
            )
    for number, text in enumerate(record.remarks, start=1):
        yield from _hidden("remarks.text", f"paragraph {number} of {authority.code}", text)


def _hidden(column: str, row: str, text: str) -> Iterator[str]:
    if (found := hidden_character(text)) is not None:
        place = next(place for place, one in enumerate(text, start=1) if hidden_character(one))
        yield (
            f"{column} holds {found} as character {place}, which does not show ({row}); remove it."
        )


def _address_faults(
    record: Record, chiefs: Sequence[Officer], copied: Sequence[Officer]
) -> Iterator[str]:
    for officer in (*chiefs, *copied):
        address = officer.email.strip()
        whose = f"the {officer.role.replace('_', ' ')} of {_named(record.addressee)}"
        if address:
            faults: list[str] = []
            with _noted(faults):
                _check_address(address, whose)
            yield from faults
        elif officer.role == CHIEF_EXECUTIVE:  # the others are copied in if they can be reached
            yield f"There is no address for {whose}; fill in officers.email."


def fields_of(edition: Edition) -> frozenset[str]:
    """The merge fields that a template for this edition may use: its own facts by name."""
    facts = (f"facts.{name}" for name in edition.facts)
    return frozenset(MERGE_FIELDS) - {"facts.*"} | frozenset(facts)


def addressee(authority: Authority, register: Mapping[str, Authority], day: date) -> Authority:
    """Who answers for `authority` on `day`: itself, or the last in its line of successors.

    Where the line breaks off (no successor named, one that is not on the register, or a circle)
    the authority itself is returned; having no officers in force is then that letter's fault.
    """
    seen = {authority.code}
    current = authority
    while current.active_to is not None and current.active_to < day:
        following = register.get(current.successor_code or "")
        if following is None or following.code in seen:
            return authority
        seen.add(following.code)
        current = following
    return current


def long_date(day: date) -> str:
    """22 July 2020, whatever the machine's language."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _fields(record: Record, edition: Edition, chiefs: Sequence[Officer]) -> dict[str, Any]:
    authority, to = record.authority, record.addressee
    lines: list[str] = []
    for officer in chiefs:
        lines += [line for line in (officer.name, officer.title) if line]
    succession = ""
    if to.code != authority.code and authority.active_to is not None:
        since = long_date(authority.active_to + timedelta(days=1))
        succession = (
            f"This letter is about {authority.name}. "
            f"{to.name} took over its responsibilities on {since}."
        )
    return {
        "letter_date": long_date(edition.letter_date),
        "letter_year": str(edition.year),
        "address_lines": [*lines, to.name],
        "salutation": _listed([officer.greeting for officer in chiefs]),
        "authority": authority.name,
        "noun": authority.noun,
        "succession": succession,
        "replaces": "",
        "enclosures": _enclosed(edition),
        "period_start": long_date(edition.period_start),
        "period_end": long_date(edition.period_end),
        "period_end_short": edition.period_end.strftime("%d/%m/%y"),
        "published_on": long_date(edition.published_on),
        "facts": {name: _printed(value) for name, value in edition.facts.items()},
        "remarks": [text for text in record.remarks if text.strip()],
        "signatory": edition.signatory,
        "signatory_posts": list(edition.signatory_posts),
    }


_ENCLOSED = {
    "decisions": "each case that we decided",
    "compliance": "each outcome of a recommendation",
}


def _enclosed(edition: Edition) -> str:
    if not edition.enclosures:
        return ""
    lists = [_ENCLOSED[kind] for kind in dict.fromkeys(edition.enclosures)]
    these = "a workbook that lists" if len(lists) == 1 else "workbooks that list"
    return (
        f"Attached as well: {these} {_listed(lists)} in this period. This is for your authority "
        "alone, and we do not publish it."
    )


def _recipients(chiefs: Sequence[Officer], copied: Sequence[Officer]) -> list[dict[str, Any]]:
    """One entry per address: a person in two roles gets one copy, as whatever comes first.

    Addresses are as the envelope carries them, so that two spellings of one are one.
    """
    by_address: dict[str, dict[str, Any]] = {}
    for officer, kind in [*((o, "to") for o in chiefs), *((o, "cc") for o in copied)]:
        if not officer.email.strip():
            continue
        address = ascii_address(officer.email.strip())
        entry = by_address.setdefault(
            address.casefold(),
            {
                "address": address,
                "name": officer.name or officer.title,
                "roles": [],
                "kind": kind,
            },
        )
        if officer.role not in entry["roles"]:
            entry["roles"].append(officer.role)
        elif officer.name and officer.name not in entry["name"]:
            entry["name"] += f" and {officer.name}"  # two who share a post and a mailbox
    return list(by_address.values())


def _check_address(address: str, whose: str) -> None:
    """Refuse what no envelope may carry, so that it is this letter's fault before anything goes."""
    try:
        if "." not in ascii_address(address).rpartition("@")[2]:
            raise LetterFault(
                f"The address {address!r} cannot be written to: its domain has no dot, so it is"
                " none that mail could be sent to."
            )
    except LetterFault as fault:
        raise LetterFault(f"{fault} It is that of {whose}; correct officers.email.") from None


def _figures(
    record: Record, averages: Mapping[str, int | None]
) -> dict[str, dict[str, int | None]]:
    counts = record.counts
    try:
        rates: dict[str, Rate] = {
            "upheld": counts.uphold,
            "compliance": counts.compliance,
            "remedy": counts.remedy,
        }
    except LetterFault as fault:
        raise LetterFault(
            f"What was counted for {record.authority.code} cannot be: {fault} Correct its decisions"
            " and compliance."
        ) from None
    compared = record.authority.kind in PEER_KINDS
    return {
        measure: {
            "part": rate.part,
            "whole": rate.whole,
            "percent": rate.percent,
            "average": averages.get(measure) if compared and rate.whole else None,
        }
        for measure, rate in rates.items()
    }


def _panels(figures: Mapping[str, Mapping[str, int | None]]) -> dict[str, dict[str, Any]]:
    labels = {
        "upheld": (("upheld decision", "upheld decisions"), "detailed investigation"),
        "compliance": (("", ""), "compliance outcome"),
        "remedy": (
            ("satisfactory remedy decision", "satisfactory remedy decisions"),
            "detailed investigation",
        ),
    }
    panels = {}
    for measure, figure in figures.items():
        (singular, plural), whole_label = labels[measure]
        part, whole = figure["part"] or 0, figure["whole"] or 0
        percent, average = figure["percent"], figure["average"]
        panels[measure] = {
            "rated": percent is not None,
            "percent": "" if percent is None else f"{percent}%",
            "percent_number": percent or 0,
            "compared": average is not None,
            "average": "" if average is None else f"{average}%",
            "part": f"{part:,}",
            "part_label": singular if part == 1 else plural,
            "whole": f"{whole:,}",
            "whole_label": whole_label if whole == 1 else f"{whole_label}s",
        }
    return panels


def _refuse_hidden(value: object, place: str) -> None:
    match value:
        case str():
            if (found := hidden_character(value)) is not None:
                raise LetterFault(
                    f"The field {place} holds a character that does not show: {found}; "
                    "remove it where the statistics come from."
                )
        case Mapping():
            for name, inner in value.items():
                _refuse_hidden(inner, f"{place}.{name}" if place else str(name))
        case list() | tuple():
            for inner in value:
                _refuse_hidden(inner, place)
        case _:
            pass


def _printed(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
