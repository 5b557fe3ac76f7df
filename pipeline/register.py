"""The register: from what a person typed to the authority that is meant.

People write names as they say them: without accents and apostrophes, "and" or "&", "Stevenage" for
Stevenage Borough Council. What they type is compared word by word, and never guessed at: several
authorities that fit are several, and one that nearly fits is only suggested.
"""

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_JOINING = frozenset({"and"})
"""Words that never matter; `&` is read as one of them."""

_EVERYWHERE = frozenset({"council", "of", "the", "london", "metropolitan", "royal"})
"""Words that may be left out or added."""

_TELLING = frozenset({"borough", "city", "county", "district"})
"""Words that may be left out; one that is given must be in the name."""

_APOSTROPHES = dict.fromkeys(map(ord, "'’‘ʼ`´′"))

_LETTERS = str.maketrans({"ø": "o", "đ": "d", "ł": "l", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"})
"""Letters that no decomposition takes apart, in the plain letters that stand in for them."""

_NEAR = 0.75  # how like each other two names are, of 1, for one to be suggested for the other
_NEAR_CODE = 0.8
_SUGGESTED = 5
_JOINED = 6  # letters that words written as one must have, lest they be found across two by chance


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Entry:
    """One authority: its full name and its code."""

    name: str
    code: str

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What was found: one entry is the one meant, several have to be told apart.

    `exact` says that the code or the full name was given. `near` are suggestions, the likeliest
    first, and only there when nothing was found.
    """

    entries: tuple[Entry, ...] = ()
    exact: bool = False
    near: tuple[Entry, ...] = ()


def look_up(wanted: str, entries: Iterable[Entry]) -> Match:
    """The entries that `wanted`, a code or a name or part of one, may mean, in order of names.

    Capitals, accents, apostrophes, hyphens and "and" make no difference, and words that many names
    have may be left out. A code or a full name beats a name without such words, that beats whole
    words and the beginning of a name, and those beat other parts of words.
    """
    known = sorted(entries)
    code = wanted.strip().casefold()
    for one in known:
        if one.code.casefold() == code:
            return Match(entries=(one,), exact=True)
    words = _words(wanted)
    if not words:
        return Match()
    exact = tuple(one for one in known if _words(one.name) == words)
    if exact:
        return Match(entries=exact, exact=True)
    if any(character.isdigit() for character in wanted):
        within = tuple(one for one in known if code in one.code.casefold())
        return Match(entries=within) if within else Match(near=_near(wanted, known))
    telling = _TELLING.intersection(words)
    possible = [one for one in known if telling.issubset(_words(one.name))]
    for fits in (_is_core, _has_words, _has_parts):
        found = tuple(one for one in possible if fits(words, one.name))
        if found:
            return Match(entries=found)
    return Match(near=_near(wanted, known))


def short_name(name: str) -> str:
    """A name in small letters with hyphens, without the words that most names begin or end with.

    "Borough Council of King's Lynn and West Norfolk" is kings-lynn-and-west-norfolk: easy to type,
    and `look_up` finds it.
    """
    words = _words(name, keep=_JOINING)
    left_out = _EVERYWHERE | _TELLING
    first, last = 0, len(words)
    while first < last and words[first] in left_out:
        first += 1
    while last > first and words[last - 1] in left_out | _JOINING:
        last -= 1
    # "City of London Corporation" would be no more than its last word
    the_city = words[:3] == ("city", "of", "london")
    return "-".join(words if first == last or the_city else words[first:last])


def _words(text: str, keep: frozenset[str] = frozenset()) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_APOSTROPHES))
    plain = plain.translate(_LETTERS).replace("&", " and ")
    letters = "".join(
        one if one.isalnum() else " " for one in plain if not unicodedata.combining(one)
    )
    return tuple(one for one in letters.split() if one in keep or one not in _JOINING)


def _core(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words that tell names apart; all of them where there are none."""
    return tuple(one for one in words if one not in _EVERYWHERE | _TELLING) or words


def _is_core(words: tuple[str, ...], name: str) -> bool:
    return "".join(_core(words)) == "".join(_core(_words(name)))


def _has_words(words: tuple[str, ...], name: str) -> bool:
    """Every word is one of the name's, or the name begins with them."""
    asked, own = _core(words), _words(name)
    begins = " ".join(_core(own)).startswith(" ".join(asked))
    return begins or set(asked).issubset(own)


def _has_parts(words: tuple[str, ...], name: str) -> bool:
    asked, own = _core(words), _words(name)
    joined = "".join(asked)  # stocktonontees
    return (len(joined) >= _JOINED and joined in "".join(own)) or all(
        any(part in one for one in own) for part in asked
    )


def _near(wanted: str, known: list[Entry]) -> tuple[Entry, ...]:
    words = _words(wanted)
    scored = [(max(_likeness(words, one.name), _code_likeness(wanted, one)), one) for one in known]
    near = sorted((-score, one) for score, one in scored if score >= _NEAR)
    return tuple(one for _, one in near[:_SUGGESTED])


def _likeness(words: tuple[str, ...], name: str) -> float:
    """How like a name what was typed is, as a whole or word by word: from 0 to 1."""
    asked, own = _core(words), _core(_words(name))
    whole = _ratio(" ".join(asked), " ".join(own))
    each = sum(max(_ratio(part, one) for one in own) for part in asked) / len(asked)
    return max(whole, each * 0.99)  # a whole name that is like it comes first


def _code_likeness(wanted: str, one: Entry) -> float:
    score = _ratio(wanted.strip().casefold(), one.code.casefold())
    return score if score >= _NEAR_CODE else 0.0


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(a=one, b=other).ratio()
