"""Make the sample's invented files again: `python sample/make_sample.py [FOLDER]`.

`authorities.csv` is fact and kept by hand. Everything else (officers, decisions, compliance,
remarks) is invented here, and the edition is that of the letter of 2020. Each value is drawn from
a hash of what it is for, not from a stream of random numbers: it is the same on every machine and
every Python, and changing one authority leaves all the others as they were.

The totals are steered, so that the averages of similar authorities come out as intended: 45%, 99%
and 20% for districts.
"""

import csv
import hashlib
import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = (
    "officers.csv",
    "decisions.csv",
    "compliance.csv",
    "remarks.csv",
    "editions.csv",
    "published_averages.csv",
)

LETTER_DATE = date(2020, 7, 22)
PERIOD_START = date(2019, 4, 1)
PERIOD_END = date(2020, 3, 31)
PERIOD_DAYS = (PERIOD_END - PERIOD_START).days + 1

Row = Mapping[str, str]

STEVENAGE = "E07000243"
WATFORD = "E07000103"
BIRMINGHAM = "E08000025"
ISLES_OF_SCILLY = "E06000053"
CITY_OF_LONDON = "E09000001"
BUCKINGHAMSHIRE = "E06000060"
BROADS = "E26000007"


def draw(below: int, *purpose: object) -> int:
    """A whole number from 0 to below - 1 that depends on `purpose` alone."""
    text = "|".join(str(part) for part in ("letters sample", *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % below


def pick(weights: Mapping[str, int], *purpose: object) -> str:
    """One of the keys of `weights`, as often as its weight says."""
    left = draw(sum(weights.values()), *purpose)
    for value, weight in weights.items():
        if left < weight:
            return value
        left -= weight
    raise AssertionError("weights sum to what was drawn from")


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    return text.split()


# Decisions -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one kind of authority is to come out: sizes per authority, pooled rates in per cent."""

    investigated: tuple[int, int]  # fewest and most detailed investigations
    upheld: int
    complied: tuple[int, int]  # compliance as a fraction in thousandths: (met, of)
    remedied: int
    categories: Mapping[str, int]


COUNTY_WORK = {
    "Adult Care Services": 40,
    "Education & Children's Services": 40,
    "Highways & Transport": 12,
    "Corporate & Other Services": 5,
    "Environmental Services & Public Protection & Regulation": 3,
}
DISTRICT_WORK = {
    "Planning & Development": 32,
    "Housing": 20,
    "Benefits & Tax": 20,
    "Environmental Services & Public Protection & Regulation": 20,
    "Corporate & Other Services": 8,
}
ALL_WORK = {name: COUNTY_WORK.get(name, 0) + DISTRICT_WORK.get(name, 0) for name in
            sorted({*COUNTY_WORK, *DISTRICT_WORK})}  # fmt: skip
PARK_WORK = {"Planning & Development": 8, "Corporate & Other Services": 1}

PLANS = {
    "county": Plan(
        investigated=(12, 62), upheld=66, complied=(997, 1000), remedied=11, categories=COUNTY_WORK
    ),
    "district": Plan(
        investigated=(0, 6), upheld=45, complied=(990, 1000), remedied=20, categories=DISTRICT_WORK
    ),
    "metropolitan": Plan(
        investigated=(9, 40), upheld=64, complied=(995, 1000), remedied=12, categories=ALL_WORK
    ),
    "unitary": Plan(
        investigated=(4, 32), upheld=60, complied=(993, 1000), remedied=13, categories=ALL_WORK
    ),
    "london_borough": Plan(
        investigated=(9, 58), upheld=70, complied=(990, 1000), remedied=16, categories=ALL_WORK
    ),
    "national_park": Plan(
        investigated=(0, 2), upheld=40, complied=(1, 1), remedied=10, categories=PARK_WORK
    ),
}


@dataclass(kw_only=True)
class Year:
    """One authority's invented year, as counts; `fixed` counts are not steered."""

    upheld: int
    not_upheld: int
    remedied: int
    due: int
    late: int
    not_complied: int
    other: int
    fixed: bool = False


FIXED = {
    STEVENAGE: Year(
        upheld=1, not_upheld=0, remedied=0, due=1, late=0, not_complied=0, other=6, fixed=True
    ),
    WATFORD: Year(
        upheld=5, not_upheld=4, remedied=1, due=4, late=0, not_complied=0, other=13, fixed=True
    ),
    # 200 of 201 is 99.502...%, which rounds to 100 and must print as 99.
    BIRMINGHAM: Year(
        upheld=78, not_upheld=34, remedied=9, due=201, late=6, not_complied=1, other=190, fixed=True
    ),
    ISLES_OF_SCILLY: Year(
        upheld=0, not_upheld=0, remedied=0, due=0, late=0, not_complied=0, other=0, fixed=True
    ),
    CITY_OF_LONDON: Year(
        upheld=1, not_upheld=2, remedied=0, due=1, late=1, not_complied=0, other=3, fixed=True
    ),
    BROADS: Year(
        upheld=0, not_upheld=0, remedied=0, due=0, late=0, not_complied=0, other=0, fixed=True
    ),
    # Rutland's investigations all end without fault found: nothing to remedy, 0% upheld.
    "E06000017": Year(
        upheld=0, not_upheld=4, remedied=0, due=0, late=0, not_complied=0, other=7, fixed=True
    ),
}


def steer(years: Mapping[str, Year], name: str, limit: str, target: int) -> None:
    """Move `name` by ones, authority after authority, until it sums to `target` over all.

    No authority goes under 0 or over its own `limit`; the fixed ones stay as they are.
    """
    order = sorted((c for c in years if not years[c].fixed), key=lambda c: draw(1 << 32, name, c))
    while (short := target - sum(getattr(year, name) for year in years.values())) != 0:
        step = 1 if short > 0 else -1
        moved = 0
        for code in order:
            value = getattr(years[code], name) + step
            if moved < abs(short) and 0 <= value <= getattr(years[code], limit):
                setattr(years[code], name, value)
                moved += 1
        if not moved:
            raise AssertionError(f"{name} cannot be made to sum to {target}")


def nearest(part: int, of: int, whole: int) -> int:
    """The whole number nearest to part/of of `whole`."""
    return (2 * part * whole + of) // (2 * of)


def plan_years(kind: str, codes: Sequence[str]) -> dict[str, Year]:
    """The counts of every authority of one kind, adding up to the plan of that kind."""
    plan = PLANS[kind]
    fewest, most = plan.investigated
    years: dict[str, Year] = {}
    investigated: dict[str, int] = {}
    for code in codes:
        if code in FIXED:
            years[code] = FIXED[code]
            continue
        # The mean of two draws: most authorities lie in the middle, few at the ends.
        size = (
            fewest
            + (draw(most - fewest + 1, "size", code) + draw(most - fewest + 1, "again", code) + 1)
            // 2
        )
        upheld = sum(draw(100, "upheld", code, n) < plan.upheld for n in range(size))
        years[code] = Year(
            upheld=upheld,
            not_upheld=size - upheld,
            remedied=0,
            due=0,
            late=0,
            not_complied=0,
            other=size + size * draw(90, "other", code) // 100 + draw(5, "more", code),
        )
        investigated[code] = size
    whole = sum(year.upheld + year.not_upheld for year in years.values())
    # `not_upheld` doubles as the room that is left for `upheld` while it is steered.
    for code, size in investigated.items():
        years[code].not_upheld = size
    steer(years, "upheld", "not_upheld", nearest(plan.upheld, 100, whole))
    for code, size in investigated.items():
        years[code].not_upheld = size - years[code].upheld
    for code in investigated:
        year = years[code]
        year.remedied = sum(draw(100, "early", code, n) < plan.remedied for n in range(year.upheld))
        agreed = sum(draw(100, "due", code, n) < 82 for n in range(year.upheld))
        year.due = agreed + (draw(3, "earlier", code) if year.upheld else 0)
    steer(
        years,
        "remedied",
        "upheld",
        nearest(plan.remedied, 100, sum(year.upheld for year in years.values())),
    )
    met, of = plan.complied
    due = sum(year.due for year in years.values())
    steer(years, "not_complied", "due", due - nearest(met, of, due))
    for code in investigated:
        year = years[code]
        year.late = sum(draw(100, "late", code, n) < 8 for n in range(year.due - year.not_complied))
    return years


OTHER_OUTCOMES = {
    "referred_back": 46,
    "closed_after_initial_enquiries": 38,
    "incomplete_or_invalid": 10,
    "advice_given": 6,
}

# How long a case takes, in days: at least, and how much more it may be.
DURATIONS = {
    "upheld": (70, 230),
    "not_upheld": (60, 200),
    "advice_given": (1, 10),
    "referred_back": (2, 25),
    "closed_after_initial_enquiries": (15, 50),
    "incomplete_or_invalid": (2, 20),
}

# Decided just outside the period: they belong to other years' letters and must not be counted.
OUTSIDE = (
    (STEVENAGE, date(2019, 3, 29), "upheld"),
    (STEVENAGE, date(2020, 4, 1), "upheld"),
    (STEVENAGE, date(2020, 4, 1), "not_upheld"),
    (WATFORD, date(2019, 3, 31), "upheld"),
    (WATFORD, date(2020, 4, 2), "not_upheld"),
    ("E07000008", date(2019, 3, 31), "not_upheld"),
    ("E06000015", date(2020, 4, 1), "upheld"),
    ("E08000035", date(2020, 4, 8), "upheld"),
    ("E09000012", date(2019, 3, 28), "not_upheld"),
    ("E10000016", date(2020, 4, 1), "upheld"),
    (BROADS, date(2020, 4, 3), "not_upheld"),
    (BUCKINGHAMSHIRE, date(2020, 4, 6), "not_upheld"),
)


class References:
    """Case references as the Ombudsman writes them, "19 001 234": year of receipt and a number.

    The numbers of a year rise with the day of receipt; no two cases share one.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def give(self, received: date, *purpose: object) -> str:
        """A reference for a case received on a day."""
        year = received.year if (received.month, received.day) >= (4, 1) else received.year - 1
        number = (received - date(year, 4, 1)).days * 54 + 1 + draw(54, "reference", *purpose)
        while (text := f"{year % 100:02} {number // 1000:03} {number % 1000:03}") in self._taken:
            number += 1
        self._taken.add(text)
        return text


def decisions_of(code: str, kind: str, year: Year, references: References) -> list[list[str]]:
    """The decisions of one authority, those outside the period included."""
    wanted: list[tuple[str, bool, date | None]] = [
        *(("upheld", n < year.remedied, None) for n in range(year.upheld)),
        *(("not_upheld", False, None) for _ in range(year.not_upheld)),
        *((pick(OTHER_OUTCOMES, "other", code, n), False, None) for n in range(year.other)),
        *((outcome, False, day) for other, day, outcome in OUTSIDE if other == code),
    ]
    rows = []
    for number, (outcome, early, fixed_day) in enumerate(wanted):
        day = PERIOD_START + timedelta(days=draw(PERIOD_DAYS, "decided", code, number))
        if code == WATFORD and number < 2:  # the period's own first and last day count
            day = (PERIOD_START, PERIOD_END)[number]
        decided = fixed_day or day
        least, spread = DURATIONS[outcome]
        received = decided - timedelta(days=least + draw(spread, "took", code, number))
        rows.append(
            [
                references.give(received, code, number),
                code,
                received.isoformat(),
                decided.isoformat(),
                pick(PLANS[kind].categories, "category", code, number),
                outcome,
                "1" if early else "0",
            ]
        )
    return rows


def compliance_of(
    code: str, year: Year, decisions: Sequence[Sequence[str]], references: References
) -> list[list[str]]:
    """Compliance that fell due in the period: on this year's cases, then on earlier years'."""
    upheld = [
        (row[0], date.fromisoformat(row[3]))
        for row in decisions
        if row[5] == "upheld" and PERIOD_START <= date.fromisoformat(row[3]) <= PERIOD_END
    ]
    outcomes = (
        ["not_complied"] * year.not_complied
        + ["complied_late"] * year.late
        + ["complied"] * (year.due - year.not_complied - year.late)
    )
    rows = []
    for number, outcome in enumerate(outcomes):
        if number < len(upheld):
            reference, decided = upheld[number]
            left = (PERIOD_END - decided).days
            recorded = decided + timedelta(days=min(left, 20 + draw(90, "recorded", code, number)))
        else:
            received = date(2018, 4, 3) + timedelta(days=draw(300, "earlier case", code, number))
            reference = references.give(received, "earlier", code, number)
            recorded = PERIOD_START + timedelta(days=draw(PERIOD_DAYS, "recorded", code, number))
        rows.append([reference, code, recorded.isoformat(), outcome])
    for other, recorded in ((STEVENAGE, date(2020, 4, 1)), (WATFORD, date(2019, 3, 31))):
        if code == other:  # outside the period: must not be counted
            received = recorded - timedelta(days=240)
            reference = references.give(received, "outside", code)
            rows.append([reference, code, recorded.isoformat(), "not_complied"])
    return rows


# Officers ------------------------------------------------------------------------------------

WOMEN = words(
    "Aaliyah Adaeze Agnes Alba Angharad Anoushka Astrid Bethan Bronwen Caoimhe Carys Chloë "
    "Clemency Cosima Damaris Delyth Devika Eilidh Eirlys Elspeth Esmé Farida Fenella Ffion Fiadh "
    "Gilda Harriet Hedda Héloïse Hester Imani Ines Iona Isolde Jocasta Keziah Kirsty Leocadia "
    "Lowri Lubna Mabel Mairi Meera Nadia Nerys Niamh Noémie Olwen Orla Padma Perpetua Renée "
    "Rhiannon Rosalind Saoirse Seren Shanthi Siân Sorcha Tamsin Thandiwe Ulrika Urszula Verity "
    "Winifred Xanthe Yasmin Zainab Zoë"
)
MEN = words(
    "Ahmed Aidan Alasdair Aled Amrit Arjun Bjørn Casimir Chidi Ciarán Dafydd Darragh Desmond Emeka "
    "Faisal Finlay Gethin Grzegorz Gwilym Hamza Ifan Ishaan Jarek Joël Kaveh Lachlan Łukasz Marek "
    "Mungo Oisín Osric Quentin Rafiq Rufus Tadeusz Tariq Torquil Wilfred Yusuf"
)
FAMILY = words(
    "Abernethy-Cole Adeyemi Ainscough Ap-Rhys Ashgrove Babatunde Bakshi Barleycroft Beauclerk "
    "Birtwhistle Blenkinsop Brackenridge Brântford Caddick Cholmondeley-Fenn Chukwu Cleverdon "
    "Corrigan Cotterstock Dalgleish-Orr Damerell De'Ath Dhaliwal Dunnockshaw D'Souza Earnshaw "
    "Eccleshall Elphinstone Fairweather Fitzgibbon Fothergill Garside Gathercole Ghoshal Gołąb "
    "Goodspeed Grimshaw Hadleigh Haldenby Hathersage Hollingberry Iddesleigh Ingleby Iqbal-Moore "
    "Jellicoe Joshi Karimjee Kettlewell Kirkbride Kowalczyk Lanyon Larkspur Leatherbarrow Llŷr "
    "Lovelace MacAskill Mahmood Marchbanks McGillivray Merriweather Micklethwaite Mukherjee "
    "Müller-Hart Nakamura Netherwood Nwosu Oakenshaw O'Dowd Ogunleye O'Halloran Okafor Ormerod "
    "Pargeter Pemberley Penhaligon Pettigrew Pinnock Postlethwaite Quartermaine Quayle Ravenscroft "
    "Rawtenstall Rosewarne Sandalwood Satterthwaite Sidhu Sørensen Stannard Sutcliffe-Rao "
    "Szymański Tattersall Thistlewood Thorneycroft Trelawney Trevelyan-Ode Turnpenny Umoh "
    "Underhay Vaillancourt Venkataraman Waddilove Wagstaffe Weatherill Whitbread Windermere "
    "Wolstenholme Wrigglesworth Yarborough-Ali Yeo Zielińska"
)
HONORIFICS = {"Mr": 36, "Ms": 30, "Mrs": 10, "Dr": 8, "Miss": 3, "": 11, "Mx": 1, "Professor": 1}

TITLES = {
    "link_officer": {
        "Complaints and Feedback Manager": 5,
        "Customer Relations Officer": 4,
        "Ombudsman Link Officer": 4,
        "Head of Customer Services": 3,
        "Information Governance and Complaints Lead": 2,
    },
    "monitoring_officer": {
        "Monitoring Officer": 5,
        "Director of Law and Governance (Monitoring Officer)": 3,
        "Head of Legal Services & Monitoring Officer": 2,
    },
    "leader": {"Leader of the Council": 1},
    "scrutiny_chair": {
        "Chair of the Overview and Scrutiny Committee": 3,
        "Chair, Scrutiny Board": 1,
    },
}
CHIEF_TITLES = {
    "Chief Executive": 30,
    "Chief Executive Officer": 2,
    "Managing Director": 2,
    "Head of Paid Service": 2,
    "Chief Executive and Head of Paid Service": 1,
}

OFFICER_COLUMNS = words(
    "authority_code role honorific given_name family_name post email active_from active_to"
)

# Chief executives who are not as all the others are: one or more rows each, as
# (honorific, given name, family name, post, local part of the address or "", from, to).
Chief = tuple[str, str, str, str, str, str, str]
CHIEFS: Mapping[str, Sequence[Chief]] = {
    # As in the letter of record: no given name.
    STEVENAGE: [("Mr", "", "Partridge", "Chief Executive", "chief.executive", "", "")],
    BUCKINGHAMSHIRE: [("Ms", "Rosalind", "Quartermaine", "Chief Executive", "", "2020-04-01", "")],
    # The Buckinghamshire councils: their own chief executives left with them, where one is known.
    "E10000002": [("Mr", "Osric", "Haldenby", "Chief Executive", "", "", "2020-03-31")],
    "E07000004": [("", "Lubna", "Garside", "Chief Executive", "", "2017-01-09", "2020-03-31")],
    "E07000005": [("Mr", "Ifan", "Caddick", "Acting Chief Executive", "", "", "2020-03-31")],
    "E07000006": [("Mr", "Ifan", "Caddick", "Acting Chief Executive", "", "", "2020-03-31")],
    "E07000007": [],
    CITY_OF_LONDON: [
        ("Sir", "Idris", "Vaughan-Pryce", "Town Clerk and Chief Executive", "town.clerk", "", "")
    ],
    "E07000225": [("Mrs", "Damaris", "Yeo", "Chief Executive and Town Clerk", "", "", "")],
    # No title known; a title that goes with the given name.
    "E07000008": [("", "Alex", "Jones", "Chief Executive", "", "", "")],
    "E06000052": [("Dame", "Morwenna", "Rosewarne", "Chief Executive", "", "", "")],
    # Vacant posts: written to by post.
    "E07000009": [("", "", "", "Chief Executive", "chief.executive", "", "")],
    "E09000015": [("", "", "", "Chief Executive", "chief.executive", "2020-06-15", "")],
    "E26000005": [("", "", "", "Chief Executive (National Park Officer)", "office", "", "")],
    # Interim and acting.
    "E06000019": [("Mr", "Gethin", "Thistlewood", "Interim Chief Executive", "", "2020-05-04", "")],
    "E08000011": [("Dr", "Shanthi", "Mukherjee", "Acting Chief Executive", "", "2020-06-01", "")],
    # Held jointly: both are named and both are written to; in Malvern Hills at one address.
    "E06000022": [
        ("Ms", "Olwen", "Fairweather", "Joint Chief Executive", "", "2019-10-01", ""),
        ("Mr", "Rafiq", "Iqbal-Moore", "Joint Chief Executive", "", "2019-10-01", ""),
    ],
    "E07000235": [
        ("Mrs", "Hester", "Netherwood", "Joint Chief Executive", "chief.executives", "", ""),
        ("", "Torquil", "Okafor", "Joint Chief Executive", "chief.executives", "", ""),
    ],
    # Someone has left and someone else is in post on the letter's date.
    "E07000085": [
        ("Mr", "Desmond", "Turnpenny", "Chief Executive", "", "2011-02-01", "2020-06-30"),
        ("Ms", "Caoimhe", "O'Halloran", "Chief Executive", "", "2020-07-01", ""),
    ],
    # The change comes on the day after the letter's date: the one in post still counts.
    "E06000031": [
        ("Mrs", "Verity", "Pargeter", "Chief Executive", "", "", "2020-07-22"),
        ("Mr", "Aled", "Kettlewell", "Chief Executive", "", "2020-07-23", ""),
    ],
    # Names that trip programs up. Llŷr and Siân are written with combining accents in the file.
    "E07000031": [("Mr", "Jarek", "Null", "Chief Executive", "", "", "")],
    "E06000021": [("Ms", "Fionnuala", "O'Neill-Smythe", "City Director", "", "", "")],
    "E06000023": [("Ms", "Sia\u0302n", "Lly\u0302r", "Chief Executive", "", "", "")],
    "E06000051": [("Mrs", "Gwenllïan", "ap Rhys-Beynon", "Chief Executive", "", "", "")],
    "E09000033": [("Mr", "Xavier", "van der Wölk", "Chief Executive", "", "", "")],
    "E07000146": [("Mr", "Rory", "D'Arcy & Sons", "Chief Executive", "rory.darcy", "", "")],
    "E08000035": [("Professor", "Zsófia", "Szőke-Ødegård", "Chief Executive", "", "", "")],
    "E07000066": [("Mr", "Yu", "O", "Chief Executive", "", "", "")],
    "E08000031": [
        (
            "Dr",
            "Venkatanarasimha Raghavendra",
            "Sathyanarayana-Featherstonehaugh",
            "Chief Executive",
            "v.sathyanarayana-featherstonehaugh",
            "",
            "",
        )
    ],
}

# One person at the head of two councils, at one address.
SHARED_CHIEFS = {
    "E07000229": "E07000223",  # Worthing with Adur
    "E07000047": "E07000044",  # West Devon with South Hams
    "E07000203": "E07000200",  # Mid Suffolk with Babergh
}

# The chief executive is also the link officer, at one address.
OWN_LINK_OFFICER = (ISLES_OF_SCILLY, "E06000017", BROADS)


def ascii_word(text: str) -> str:
    """A name as it stands in an address: o'neill-smythe becomes oneill-smythe."""
    plain = text.casefold().replace("ø", "o").replace("ł", "l")  # these do not decompose
    letters = unicodedata.normalize("NFKD", plain)
    return "".join(c for c in letters if c.isascii() and (c.isalnum() or c == "-")).strip("-")


_PLAIN_WORDS = (
    "Metropolitan Borough Council", "Metropolitan District Council", "City and District Council",
    "Borough Council of", "London Borough of", "Royal Borough of", "Council of the",
    "District Council", "Borough Council", "National Park Authority", "City Council",
    "Corporation", "Council", "City of",
)  # fmt: skip


def domain(name: str) -> str:
    """A made-up domain for an authority; county councils keep their cc, so that none is shared."""
    short = name
    suffix = "gov.example"
    if short.endswith("County Council"):
        short = short.removesuffix("County Council") + "cc"
    if short.endswith("National Park Authority"):
        short = short.removesuffix("National Park Authority") + "npa"
    for words in _PLAIN_WORDS:
        short = short.replace(words, " ")
    slug = "-".join(ascii_word(word) for word in short.replace("&", " and ").split())
    return f"{slug}.{suffix}"


def officers_of(authority: Row, chiefs_of: Mapping[str, Sequence[Chief]]) -> list[list[str]]:
    """Everybody who is known at one authority."""
    code = authority["code"]
    at = domain(authority["name"])
    rows = []

    def add(role: str, chief: Chief) -> None:
        honorific, given, family, post, local, since, until = chief
        local = local or ".".join(filter(None, map(ascii_word, (given, family.replace(" ", "")))))
        address = local if "@" in local else f"{local}@{at}"
        rows.append([code, role, honorific, given, family, post, address, since, until])

    for chief in chiefs_of[code]:
        add("chief_executive", chief)
    if authority["active_to"]:
        return rows
    if code in OWN_LINK_OFFICER:
        add("link_officer", chiefs_of[code][0])
    elif draw(100, "has link", code) < 92 or code in (STEVENAGE, WATFORD):
        add("link_officer", invented("link_officer", code, local="complaints"))
    for role, share in (("monitoring_officer", 35), ("leader", 25), ("scrutiny_chair", 15)):
        if draw(100, "has", role, code) < share and not (
            role == "leader" and authority["kind"] == "national_park"
        ):
            add(role, invented(role, code))
    return rows


def invented(role: str, code: str, local: str = "") -> Chief:
    """A made-up person in a role."""
    honorific = pick(HONORIFICS, role, "honorific", code)
    if role == "leader":
        honorific = "Councillor"
    post = pick(CHIEF_TITLES if role == "chief_executive" else TITLES[role], role, "post", code)
    names = {"Mr": MEN, "Ms": WOMEN, "Mrs": WOMEN, "Miss": WOMEN}.get(honorific, WOMEN + MEN)
    given = names[draw(len(names), role, "given", code)]
    family = FAMILY[draw(len(FAMILY), role, "family", code)]
    return honorific, given, family, post, local, "", ""


def chief_executives(authorities: Iterable[Row]) -> dict[str, Sequence[Chief]]:
    """Who heads each authority; every third is written to at the office's own address."""
    chiefs: dict[str, Sequence[Chief]] = {}
    for authority in authorities:
        code = authority["code"]
        office = "chief.executive" if draw(3, "office", code) == 0 else ""
        chiefs[code] = CHIEFS.get(code) or (
            [] if code in CHIEFS else [invented("chief_executive", code, office)]
        )
    by_code = {authority["code"]: authority for authority in authorities}
    for code, first in SHARED_CHIEFS.items():
        honorific, given, family, post, _local, since, until = invented("chief_executive", first)
        address = f"chief.executive@{domain(by_code[first]['name'])}"
        chiefs[first] = chiefs[code] = [(honorific, given, family, post, address, since, until)]
    return chiefs


# Remarks and the edition ---------------------------------------------------------------------

THANKS = (
    "Thank you to the officers who attended our link officer seminar during the "
    "year. I hope that they found it useful."
)
COURSE = (
    "I am pleased that we were able to provide a complaint handling course to your "
    "staff this year, and I hope that it was helpful."
)
VISIT = (
    "I would like to thank your complaints team for the time it gave to our staff "
    "when they visited your offices to learn about local procedures."
)
PROMPT = (
    "Your staff have kept in touch with my investigators throughout the year, which "
    "has helped us to deal with enquiries without delay."
)
NEW_LINK = (
    "I understand that you appointed a new link officer during the year. My staff "
    "would be glad to help with any questions about our procedures."
)
MERGED = (
    "I recognise that this was the first year of the new authority, and I would "
    "welcome hearing how its complaints procedure is settling in."
)

REMARKS: Mapping[str, Sequence[str]] = {
    "E06000058": [MERGED],
    "E06000059": [MERGED, COURSE],
    "E07000244": [MERGED],
    "E07000008": [THANKS],
    "E07000123": [COURSE],
    "E08000025": [PROMPT, COURSE, THANKS],
    "E09000013": [VISIT],
    "E10000016": [THANKS, PROMPT],
    "E10000002": [PROMPT],
    "E26000011": [NEW_LINK],
}

EDITION = {
    "year": "2020",
    "letter_date": LETTER_DATE.isoformat(),
    "published_on": "2020-07-29",
    "period_start": PERIOD_START.isoformat(),
    "period_end": PERIOD_END.isoformat(),
    "signatory": "Michael King",
    "signatory_posts": json.dumps(
        [
            "Local Government and Social Care Ombudsman",
            "Chair, Commission for Local Administration in England",
        ]
    ),
    "facts": json.dumps(
        {
            "delegates": 178,
            "delegate_authorities": 143,
            "courses": 118,
            "people": 1400,
            "more_courses": 47,
        }
    ),
    "copied_roles": "",
    "prepare_on": "",
    "dispatch_at": "",
}


# Files ---------------------------------------------------------------------------------------


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """One CSV file: UTF-8, commas, a line feed after each row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def make(folder: Path) -> None:
    """Write all invented files into `folder`, from the authorities beside this script."""
    with (HERE / "authorities.csv").open(encoding="utf-8", newline="") as file:
        authorities = list(csv.DictReader(file))
    with_letter = [
        a for a in authorities if not a["active_from"] or a["active_from"] <= str(PERIOD_END)
    ]
    years: dict[str, Year] = {}
    for kind in PLANS:
        years |= plan_years(kind, [a["code"] for a in with_letter if a["kind"] == kind])

    references = References()
    decisions: list[list[str]] = []
    compliance: list[list[str]] = []
    nothing = Year(upheld=0, not_upheld=0, remedied=0, due=0, late=0, not_complied=0, other=0)
    for authority in authorities:
        code = authority["code"]
        year = years.get(code, nothing)
        own = decisions_of(code, authority["kind"], year, references)
        decisions += own
        compliance += compliance_of(code, year, own, references)
    chiefs = chief_executives(authorities)
    officers = [row for authority in authorities for row in officers_of(authority, chiefs)]

    write(folder / "officers.csv", OFFICER_COLUMNS, officers)
    write(
        folder / "decisions.csv",
        words(
            "case_reference authority_code received_on decided_on category outcome remedied_early"
        ),
        decisions,
    )
    write(
        folder / "compliance.csv",
        ["case_reference", "authority_code", "recorded_on", "outcome"],
        compliance,
    )
    write(
        folder / "remarks.csv",
        ["year", "authority_code", "position", "text"],
        [
            ["2020", code, str(position), text]
            for code, texts in REMARKS.items()
            for position, text in enumerate(texts, start=1)
        ],
    )
    write(folder / "editions.csv", list(EDITION), [list(EDITION.values())])
    write(folder / "published_averages.csv", ["year", "kind", "measure", "percent"], [])


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
