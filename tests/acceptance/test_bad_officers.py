"""One year in which much is wrong with many: each fault is said, and the others get their letters.

The base is a part of the sample; then what an import would refuse is written straight into the
tables, as a site's own database would hold it. The command runs once for all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.letter import CHIEF_EXECUTIVE
from tests.acceptance.site import Captured, Row, Site, part_of_the_sample, read_sample
from tests.acceptance.test_annual_run import pages

CODES = [
    row["code"]
    for row in read_sample("authorities")
    if row["kind"] == "district" and not row["successor_code"]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """One authority's rows, to be spoilt where they lie."""

    connection: sa.Connection
    code: str

    def authority(self, **values: Any) -> None:
        table = schema.authorities
        self._update(table, table.c.code == self.code, values)

    def officer(self, role: str = CHIEF_EXECUTIVE, **values: Any) -> None:
        table = schema.officers
        where = sa.and_(table.c.authority_code == self.code, table.c.role == role)
        self._update(table, where, values)

    def add_officer(self, role: str = CHIEF_EXECUTIVE, **values: Any) -> None:
        row = {"authority_code": self.code, "role": role, **values}
        self.connection.execute(sa.insert(schema.officers).values(row))

    def no_officers(self, *roles: str) -> None:
        table = schema.officers
        self.connection.execute(
            sa.delete(table).where(table.c.authority_code == self.code, table.c.role.in_(roles))
        )

    def no_decisions(self) -> None:
        for table in (schema.decisions, schema.compliance):
            self.connection.execute(sa.delete(table).where(table.c.authority_code == self.code))

    def remark(self, text: str) -> None:
        row = {"year": 2020, "authority_code": self.code, "position": 1, "text": text}
        self.connection.execute(sa.insert(schema.remarks).values(row))

    def _update(self, table: sa.Table, where: sa.ColumnElement[bool], values: Any) -> None:
        assert self.connection.execute(sa.update(table).where(where).values(**values)).rowcount


Change = Callable[[Rows], None]


def address(email: str | None, role: str = CHIEF_EXECUTIVE) -> Change:
    return lambda rows: rows.officer(role, email=email)


def _two_faults(rows: Rows) -> None:
    rows.officer(email="a@b.example; c@d.example", family_name="Jo\u200bnes")


def _circle(rows: Rows) -> None:
    rows.authority(active_to=sa.literal("2020-03-31", sa.Text), successor_code=rows.code)


def _successor_without_officers(rows: Rows) -> None:
    rows.authority(active_to=sa.literal("2020-03-31", sa.Text), successor_code="EMPTY")


CHIEF_OF = "It is that of the chief executive of {name}; correct officers.email."
NONE_IN_FORCE = (
    "{name} has no chief executive in the officers table on 22 July 2020; add a row with the role"
    " chief_executive and an address"
)

# What is wrong, and what is said of it: the thing, the place and the fix.
BAD: Mapping[str, tuple[Change, list[str]]] = {
    "brackets in the address": (
        address("[/bold]@b.example"),
        ["'[/bold]@b.example' cannot be written to", CHIEF_OF],
    ),
    "no address": (
        address(None),
        ["There is no address for the chief executive of {name}; fill in officers.email."],
    ),
    "an address of blanks": (
        address("  \t "),
        ["There is no address for the chief executive of {name}; fill in officers.email."],
    ),
    "two addresses with a comma": (
        address("a@b.example, c@d.example"),
        ["'a@b.example, c@d.example' cannot be written to: it holds more than one", CHIEF_OF],
    ),
    "two addresses with a semicolon": (
        address("a@b.example;c@d.example"),
        ["it holds more than one address", CHIEF_OF],
    ),
    "two addresses with a space": (
        address("a@b.example c@d.example"),
        ["it holds more than one address", CHIEF_OF],
    ),
    "a name beside the address": (
        address("Jo Jones <jo@b.example>"),
        ["it holds a name or brackets beside the address; give the address alone", CHIEF_OF],
    ),
    "a space in the address": (address("jo jones@b.example"), ["it holds a space", CHIEF_OF]),
    "a header in the address": (
        address("jo@b.example\r\nBcc: victim@evil.example"),
        ["it holds CARRIAGE RETURN (U+000D); take it out", CHIEF_OF],
    ),
    "a line feed in the address": (
        address("jo@b.example\nvictim@evil.example"),
        ["it holds LINE FEED (U+000A); take it out", CHIEF_OF],
    ),
    "65 characters before the @": (
        address("j" * 65 + "@b.example"),
        ["65 characters stand before the @, and mail allows 64", CHIEF_OF],
    ),
    "more than 254 characters": (
        address("jo@" + "long." * 50 + "example"),
        ["it is 260 characters long, and mail allows 254", CHIEF_OF],
    ),
    "an accent before the @": (
        address("siân@b.example"),
        ["SMTPUTF8", "ask for an address without accents", CHIEF_OF],
    ),
    "quotation marks before the @": (address('"jo jones"@b.example'), ["quoted part", CHIEF_OF]),
    "a computer's number": (address("jo@[192.0.2.1]"), ["give a domain", CHIEF_OF]),
    "a dot at the end": (address("jo@b.example."), ["begins or ends with a dot", CHIEF_OF]),
    "two dots": (address("jo..jones@b.example"), ["two dots in a row", CHIEF_OF]),
    "no dot in the domain": (address("jo@localhost"), ["its domain has no dot", CHIEF_OF]),
    "no @": (address("jo.b.example"), ["it has no @", CHIEF_OF]),
    "a wrong address of who is copied in": (
        address("link@@b.example", "link_officer"),
        ["holds more than one", "that of the link officer of {name}; correct officers.email."],
    ),
    "a surname that turns the line around": (
        lambda rows: rows.officer(family_name="Jo\u202enes"),
        ["officers.family_name holds RIGHT-TO-LEFT OVERRIDE (U+202E) as character 3", "remove it."],
    ),
    "a bell in the post": (
        lambda rows: rows.officer(post="\x07Chief Executive"),
        ["officers.post holds BELL (U+0007) as character 1, which does not show"],
    ),
    "a private character in the name": (
        lambda rows: rows.officer(given_name="Al\ue0b0ex"),
        ["officers.given_name holds PRIVATE USE CHARACTER (U+E0B0) as character 3"],
    ),
    "a hidden character in the name of who is copied in": (
        lambda rows: rows.officer("link_officer", family_name="Hill\u2066"),
        ["LEFT-TO-RIGHT ISOLATE (U+2066) as character 5", "(link_officer of {code}); remove it."],
    ),
    "an escape in the authority's name": (
        lambda rows: rows.authority(name="Any\x1b[2Jtown Council"),
        ["authorities.name holds ESCAPE (U+001B) as character 4", "({code}); remove it."],
    ),
    "no name of the authority": (
        lambda rows: rows.authority(name=" \u00a0 "),
        ["authorities.name is empty ({code}); fill in the name that is to be printed."],
    ),
    "a zero width in a remark": (
        lambda rows: rows.remark("Well\u200b done."),
        ["remarks.text holds ZERO WIDTH SPACE (U+200B) as character 5", "paragraph 1 of {code}"],
    ),
    "a title and no name": (
        lambda rows: rows.officer(honorific="Ms", given_name="", family_name=" "),
        ["officers.honorific holds 'Ms' without a name beside it", "give the name, or leave all"],
    ),
    "no officers at all": (
        lambda rows: rows.no_officers(CHIEF_EXECUTIVE, "link_officer"),
        [NONE_IN_FORCE],
    ),
    "no chief executive any more": (
        lambda rows: rows.officer(active_to=sa.literal("2020-07-21", sa.Text)),
        [NONE_IN_FORCE],
    ),
    "no chief executive yet": (
        lambda rows: rows.officer(active_from=sa.literal("2020-07-23", sa.Text)),
        [NONE_IN_FORCE],
    ),
    "abolished, and nobody took over": (
        lambda rows: rows.authority(active_to=sa.literal("2020-03-31", sa.Text)),
        ["{name} does not exist on 22 July 2020", "correct successor_code."],
    ),
    "abolished, and its own successor": (
        _circle,
        ["{name} does not exist on 22 July 2020", "correct successor_code."],
    ),
    "abolished, and the successor has no officers": (
        _successor_without_officers,
        ["New Council has no chief executive in the officers table on 22 July 2020; add a row"],
    ),
    "a vacant post that somebody holds": (
        lambda rows: rows.add_officer(email="office@b.example"),
        ["has 2 chief executives of {name} on 22 July 2020, one of them without a name", "end the"],
    ),
    "two faults at once": (
        _two_faults,
        ["officers.family_name holds ZERO WIDTH SPACE", "it holds more than one", CHIEF_OF],
    ),
    "a letter that no font here has": (
        lambda rows: rows.officer(family_name="\U00013080\U00013081"),
        ["Page 1 has “\U00013080” (U+13080), which no installed font can draw", "Mend the field"],
    ),
    "a name that leaves no room": (
        lambda rows: rows.authority(name="Council of the Isles of " + "Northern Reaches " * 28),
        ["do not stand together on one page", "or shorten the authority's name (499 characters)."],
    ),
    "a template's tag": (
        lambda rows: rows.remark("See {{ name }}."),
        ["still has a template's tag: “", "See {{{{ name }}}}.", "take it out of the data"],
    ),
}


def _shared(rows: Rows) -> None:
    rows.officer(email="Chief@Shared.example")
    rows.officer("link_officer", email="cHIEF@sHARED.EXAMPLE")


def _shared_in_two_forms(rows: Rows) -> None:
    rows.officer(email="prif@cyngor-môn.example")
    rows.officer("link_officer", email="prif@xn--cyngor-mn-n7a.example")


def _vacant(rows: Rows) -> None:
    rows.officer(honorific=" ", given_name="  ", family_name="\u00a0", post=" ")


def _joint(rows: Rows) -> None:
    rows.add_officer(honorific="Mr", given_name="Ravi", family_name="Shah", email="r@joint.example")


def named(**values: str) -> Change:
    return lambda rows: rows.officer(**{"honorific": "Ms", "given_name": "Alex", **values})


def _welsh(rows: Rows) -> None:
    rows.officer(honorific="Ms", given_name="Sia\u0302n", family_name="Llw\u0302yd")
    rows.authority(name="Cyngor Sir Ynys Mo\u0302n")


# What is unusual and right, and what the letter's first page then says (or the whole letter does).
GOOD: Mapping[str, tuple[Change, list[str]]] = {
    "nothing unusual": (lambda _rows: None, []),
    "Null": (named(family_name="Null"), ["Ms Alex Null\n", "Dear Ms Null\n"]),
    "None": (named(family_name="None"), ["Ms Alex None\n", "Dear Ms None\n"]),
    "nan": (named(given_name="nan", family_name="nan"), ["Ms nan nan\n", "Dear Ms nan\n"]),
    "Error!": (named(family_name="Error! undefined"), ["Dear Ms Error! undefined\n"]),
    "stray words in a remark": (
        lambda rows: rows.remark("None of it is undefined; nan is bread. Error! is a shout."),
        ["None of it is undefined; nan is bread. Error! is a shout."],
    ),
    "markup": (
        named(family_name='O\'Neill & <b>"Sons"</b> &amp; Co'),
        ['Ms Alex O\'Neill & <b>"Sons"</b> &amp; Co\n'],
    ),
    "brackets": (
        lambda rows: rows.authority(name="[bold]Any[/red]town Council[/]"),
        ["[bold]Any[/red]town Council[/]\n"],
    ),
    "Welsh, decomposed": (
        _welsh,
        ["Ms Si\u00e2n Ll\u0175yd\n", "Cyngor Sir Ynys M\u00f4n\n", "Dear Ms Ll\u0175yd\n"],
    ),
    "accents that no letter is composed with": (
        named(family_name="X\u0302q\u0301"),
        ["Ms Alex X\u0302q\u0301\n"],
    ),
    "a name of 500 letters": (named(family_name="y" * 500), ["Chief Executive"]),
    "a post of 500 letters": (named(post="Interim " * 62 + "Head"), ["Interim Interim"]),
    "blank names": (_vacant, ["\nChief Executive\n", "Dear Chief Executive\n"]),
    "joint": (_joint, ["\nMr Ravi Shah\n", " and Mr Shah\n"]),
    "nothing decided": (lambda rows: rows.no_decisions(), ["0 detailed investigations"]),
    "an address in two roles": (_shared, []),
    "an address in two forms": (_shared_in_two_forms, []),
    "blanks around the address": (address("  jo@blanks.example \r\n"), []),
    "a percent sign": (address("jo%0aBcc%3a@percent.example"), []),
    "64 characters before the @": (address("j" * 64 + "@b.example"), []),
    "a domain for tests": (address("jo@council.test"), []),
    "who is copied in has no address": (address("", "link_officer"), []),
    "who is copied in is not there": (lambda rows: rows.no_officers("link_officer"), []),
}

# Whom the letter goes to, where that is what is unusual.
TO: Mapping[str, list[str]] = {
    "an address in two roles": ["Chief@Shared.example"],
    "an address in two forms": ["prif@xn--cyngor-mn-n7a.example"],
    "blanks around the address": ["jo@blanks.example"],
    "a percent sign": ["jo%0aBcc%3a@percent.example"],
    "64 characters before the @": ["j" * 64 + "@b.example"],
    "a domain for tests": ["jo@council.test"],
    "joint": ["r@joint.example"],
}

CODE = dict(zip([*GOOD, *BAD], CODES, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Year:
    """What came of it all."""

    site: Site
    said: str
    letters: Mapping[str, Any]
    mail: list[Captured]


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Year:
    folder = tmp_path_factory.mktemp("bad_officers")
    site = Site(folder)

    def without_remarks(tables: dict[str, list[Row]]) -> None:
        tables["remarks"] = []

    data = part_of_the_sample(folder / "data", list(CODE.values()), without_remarks)
    site.letters("import", str(data))
    database = Database(site.environment["LETTERS_DATABASE__URL"])
    with database.write() as connection:
        connection.execute(
            sa.insert(schema.authorities).values(
                code="EMPTY",
                name="New Council",
                kind="unitary",
                active_from=sa.literal("2020-04-01", sa.Text),
            )
        )
        for what, (change, _) in {**GOOD, **BAD}.items():
            change(Rows(connection=connection, code=CODE[what]))
    database.close()
    said = site.letters("run", "2020", expect=1).stdout
    letters = {one["authority"]: one for one in site.json("status", "2020")["letters"]}
    return Year(site=site, said=said, letters=letters, mail=site.mail())


@pytest.mark.parametrize("what", BAD)
def test_a_fault_names_the_thing_the_place_and_the_fix(what: str, year: Year) -> None:
    letter = year.letters[CODE[what]]
    assert (letter["state"], letter["pdf"]) == ("fault", None)
    for expected in BAD[what][1]:
        assert expected.format(name=letter["name"], code=CODE[what]) in letter["fault"]
    assert letter["fault"].isprintable()
    assert letter["fault"].endswith(".")


@pytest.mark.parametrize("what", GOOD)
def test_the_others_get_their_letters(what: str, year: Year) -> None:
    letter = year.letters[CODE[what]]
    assert (letter["state"], letter["fault"]) == ("accepted", None)
    pdf = (year.site.archive / letter["pdf"]).read_bytes()
    text = "".join(pages(pdf)).replace("\r\n", "\n")
    for expected in GOOD[what][1]:
        assert expected in text
    got = [one for one in year.mail if one.pdf == pdf]
    assert sorted(one.recipient for one in got) == sorted(letter["recipients"])
    assert set(TO.get(what, [])) <= {one.recipient for one in got}


def test_an_address_in_two_roles_is_one_delivery(year: Year) -> None:
    for what in ("an address in two roles", "an address in two forms"):
        assert year.letters[CODE[what]]["recipients"] == TO[what]


def test_nobody_else_gets_anything(year: Year) -> None:
    planned = [recipient for what in GOOD for recipient in year.letters[CODE[what]]["recipients"]]
    assert sorted(one.recipient for one in year.mail) == sorted(planned)
    assert len(set(planned)) == len(planned)
    for one in year.mail:
        assert one.message["Bcc"] is None
        assert b"evil.example" not in one.data.partition(b"\r\n\r\n")[0]


def test_the_run_says_how_it_stands(year: Year) -> None:
    assert len(year.letters) == len(CODE)
    assert sorted(one["state"] for one in year.letters.values()) == (
        ["accepted"] * len(GOOD) + ["fault"] * len(BAD)
    )
    assert "\x1b[2J" not in year.said
    assert "'[/bold]@b.example'" in year.said


def test_whatever_they_are_called_letters_can_be_looked_at(year: Year) -> None:
    for what, said in {
        "an escape in the authority's name": "U+001B",
        "brackets": "[bold]Any[/red]town Council[/]",
    }.items():
        shown = year.site.letters("show", CODE[what], "--year", "2020").stdout
        assert "\x1b[2J" not in shown
        assert said in shown
