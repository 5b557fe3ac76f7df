"""Bad data, each in its own way: what is said of it names the thing, the place and the fix.

One table of cells, one of files and one of whole sources. What can be wrong at the same time is
supplied together, as it would be, and one command has to tell of all of it at once.
"""

import io
import os
import sqlite3
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline import schema
from tests.acceptance.site import Site
from tests.supplied import GOOD, book, good, good_book, repacked, sheet, write

_CSV_ONLY, _BOOK_ONLY = "csv", "book"


def said(site: Site, source: Path, *, expect: int = 1) -> str:
    """What `letters import` says of a source that it refuses, on one line."""
    refused = site.letters("import", str(source), expect=expect)
    assert refused.stdout == ""
    assert stored(site) == 0
    return " ".join(refused.stderr.split())


def stored(site: Site) -> int:
    """How many rows of statistics the site has."""
    with closing(sqlite3.connect(site.folder / "letters.db")) as connection:
        return sum(
            connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]
            for table in schema.STATISTICS
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One site for all of them: whatever is refused leaves it as it was."""
    assert os.environ.get("LETTERS_HOME") is None
    site = Site(tmp_path_factory.mktemp("site"))
    site.letters("db", "upgrade")
    return site


# Cells ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One wrong cell in a row that is good but for it, and words that its fault must hold.

    `beside` is what else the row needs to be told from the others; `only` says in which kind of
    source this can be.
    """

    what: str
    relation: str
    column: str
    holds: Any
    words: tuple[str, ...]
    beside: Mapping[str, Any] = field(default_factory=dict)
    only: str = ""


def _cell(what: str, place: str, holds: Any, *words: str, only: str = "", **beside: Any) -> Cell:
    relation, _, column = place.partition(".")
    return Cell(
        what=what,
        relation=relation,
        column=column,
        holds=holds,
        words=words,
        beside=beside,
        only=only,
    )


CELLS: Sequence[Cell] = (
    # Addresses
    _cell("two addresses", "officers.email", "a@x.example; b@x.example", "a row of their own"),
    _cell("a name with it", "officers.email", "Al <a@x.example>", "give the address alone"),
    _cell("a space in it", "officers.email", "al ex@x.example", "holds a space"),
    _cell("a header within", "officers.email", "a@x.example\r\nBcc: b@x.example", "U+000D"),
    _cell("a line feed", "officers.email", "a@x.example\nBcc: b@x.example", "U+000A"),
    _cell("too long", "officers.email", "a" * 65 + "@x.example", "is not an email address"),
    _cell("a domain too long", "officers.email", "a@" + "x" * 64 + ".example", "is not an email"),
    _cell("accents before the @", "officers.email", "siân@x.example", "an address without accents"),
    _cell("a quoted local part", "officers.email", '"a b"@x.example', "quoted part before the @"),
    _cell("an IP literal", "officers.email", "a@[192.0.2.1]", "give a domain"),
    _cell("a link", "officers.email", "mailto:a@x.example", "without mailto:"),
    _cell("no @", "officers.email", "nobody", "must have an @-sign"),
    # Text
    _cell("a control character", "authorities.name", "abc\x07d", "character 4", only=_CSV_ONLY),
    _cell("a NUL", "authorities.name", "abc\0d", "NULL (U+0000)", "remove it", only=_CSV_ONLY),
    _cell("text direction", "authorities.name", "abc\u202ed", "RIGHT-TO-LEFT OVERRIDE", "remove"),
    _cell("zero width", "officers.family_name", "Jo\u200bnes", "ZERO WIDTH SPACE (U+200B)"),
    _cell("a filler", "officers.family_name", "\u3164", "HANGUL FILLER (U+3164)"),
    _cell("a line break", "remarks.text", "One\nTwo", "give each paragraph a row of its own"),
    _cell("500 characters", "authorities.name", "x" * 500, "500 characters long; at most 150"),
    _cell("blank", "authorities.name", " ", "is empty."),
    _cell("a lost letter", "officers.family_name", "Si\ufffdn", "type it again"),
    _cell("read as cp1252", "officers.family_name", "SiÃ¢n", "it was probably “Siân”"),
    # Figures
    _cell("another day", "decisions.decided_on", "05/11/2019", "write for example 2019-11-05"),
    _cell("no such day", "decisions.decided_on", "2019-02-30", "is not a day of the calendar"),
    _cell("year 0020", "decisions.decided_on", "0020-11-05", "outside the years 1000 to 2199"),
    _cell("before there was one", "decisions.decided_on", "1919-11-05", "check the year"),
    _cell("decided first", "decisions.decided_on", "2019-05-31", "before received_on, 2019-06-01"),
    _cell("a near word", "decisions.outcome", "Upheld", "did you mean upheld?"),
    _cell("yes", "decisions.remedied_early", "yes", "neither 0 nor 1; write 1."),
    _cell("no authority", "decisions.authority_code", "E7", "there is no authority E7; add it to"),
    _cell("a near code", "decisions.authority_code", "e07000243", "did you mean E07000243?"),
    _cell("too much", "published_averages.percent", "101", "from 0 to 100", kind="county"),
    _cell("no number", "published_averages.percent", "45%", "is not a whole", kind="unitary"),
    _cell("no JSON", "editions.facts", "{delegates: 1}", "is not JSON at", year="2021"),
    _cell("dispatch in 0020", "editions.dispatch_at", "0020-07-22T09:00", "check", year="2022"),
    _cell("no hour there", "editions.dispatch_at", "2020-03-29T01:30", "not exist", year="2023"),
    # What a spreadsheet does to data
    _cell("a formula", "compliance.outcome", "=A1", "Paste Special, Values", only=_BOOK_ONLY),
    _cell("an error", "compliance.outcome", "#N/A", "holds the error #N/A", only=_BOOK_ONLY),
    _cell("a bare number", "compliance.recorded_on", 43774, "2019-11-05", only=_BOOK_ONLY),
    _cell("a truth", "officers.family_name", True, "cell as text", only=_BOOK_ONLY),
    _cell("a date", "officers.post", date(2020, 1, 3), "as text", only=_BOOK_ONLY),
    _cell("a fraction", "officers.post", 19.01, "drops noughts", only=_BOOK_ONLY),
    _cell("half", "published_averages.percent", 45.5, "“45.5”", kind="other", only=_BOOK_ONLY),
)


def _rows(kind: str) -> dict[str, list[dict[str, Any]]]:
    """Every relation's good row first, then one for each wrong cell of this kind of source."""
    rows: dict[str, list[dict[str, Any]]] = {name: [dict(GOOD[name])] for name in GOOD}
    for number, cell in enumerate(_cells(kind)):
        unique = {
            "authorities": {"code": f"X{number}"},
            "officers": {"active_from": f"19{number:02}-01-01"},
            "decisions": {"case_reference": f"20 {number:03}"},
            "compliance": {"case_reference": f"21 {number:03}"},
            "remarks": {"position": str(number)},
        }.get(cell.relation, {})
        rows[cell.relation].append(
            {**GOOD[cell.relation], **unique, **cell.beside, cell.column: cell.holds}
        )
    return rows


def _cells(kind: str) -> list[Cell]:
    return [cell for cell in CELLS if cell.only in {"", kind}]


def _place(kind: str, cell: Cell) -> str:
    """The head of the fault's sentence, as somebody would look for it."""
    mates = [one for one in _cells(kind) if one.relation == cell.relation]
    row = mates.index(cell) + 3
    if kind == _CSV_ONLY:
        # A line break within a cell makes the rows after it begin a line later.
        above = mates[: mates.index(cell)]
        row += sum(len(str(one.holds).splitlines()) - 1 for one in above if "\n" in str(one.holds))
        return f"{cell.relation}.csv, line {row}, column {cell.column}: "
    letter = chr(ord("A") + list(GOOD[cell.relation]).index(cell.column))
    return f"sheet {cell.relation}, cell {letter}{row} ({cell.column}): "


@pytest.fixture(scope="module")
def cells_said(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What is said of all the cells: as CSV files, and as a workbook."""
    folder = tmp_path_factory.mktemp("cells")
    for name, rows in _rows(_CSV_ONLY).items():
        write(folder, name, rows)
    sheets = {
        name: [list(rows[0]), *(list(row.values()) for row in rows)]
        for name, rows in _rows(_BOOK_ONLY).items()
    }
    return {
        _CSV_ONLY: said(site, folder),
        _BOOK_ONLY: said(site, book(folder / "book.xlsx", sheets)),
    }


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        pytest.param(kind, cell, id=f"{kind}: {cell.what} in {cell.relation}")
        for kind in (_CSV_ONLY, _BOOK_ONLY)
        for cell in _cells(kind)
    ],
)
def test_a_wrong_cell(cells_said: Mapping[str, str], kind: str, cell: Cell) -> None:
    _, place, fault = cells_said[kind].partition(_place(kind, cell))
    assert place, cells_said[kind]
    reason = fault.partition(": ")[0]
    for words in cell.words:
        assert words in fault[: len(reason) + 200]


@pytest.mark.parametrize("kind", [_CSV_ONLY, _BOOK_ONLY])
def test_every_wrong_cell_is_told_once_and_no_other(
    cells_said: Mapping[str, str], kind: str
) -> None:
    assert cells_said[kind].startswith(f"letters: Nothing was imported: {len(_cells(kind))} faults")


# Rows ------------------------------------------------------------------------------------------


def test_rows_that_contradict_each_other(site: Site, tmp_path: Path) -> None:
    authority = GOOD["authorities"]
    write(
        tmp_path,
        "authorities",
        [
            authority,
            {**authority, "code": "e07000243"},
            {**authority, "code": "E1", "successor_code": "E2"},
            {**authority, "code": "E2", "successor_code": "E1"},
        ],
    )
    write(tmp_path, "decisions", [GOOD["decisions"], GOOD["decisions"]])
    case = {**GOOD["compliance"], "case_reference": "19 001 234", "authority_code": "E1"}
    write(tmp_path, "compliance", [case, {**GOOD["compliance"], "case_reference": "19001234"}])
    told = said(site, tmp_path)
    for fault in (
        "authorities.csv, line 3, column code: e07000243 is already on line 2, written E07000243",
        "decisions.csv, line 3, column case_reference: 19 001 234 is already on line 2; keep one",
        "compliance.csv, line 3, column case_reference: 19001234 is already on line 2, written",
        "authorities.csv, line 4, column successor_code: E1 is succeeded by E2 is succeeded by E1",
        "compliance.csv, line 2, column authority_code: 19 001 234 belongs to E1 here and to",
    ):
        assert fault in told


# Files -----------------------------------------------------------------------------------------


def _header(name: str) -> str:
    return ",".join(GOOD[name])


def _good(name: str) -> bytes:
    """A good file's bytes, without a byte order mark."""
    rows = io.StringIO()
    rows.write(_header(name) + "\n")
    rows.write(",".join(f'"{v.replace(chr(34), chr(34) * 2)}"' for v in GOOD[name].values()))
    return (rows.getvalue() + "\n").encode()


FILES: Sequence[tuple[str, Callable[[str], bytes], tuple[str, ...]]] = (
    ("cp1252", lambda name: _good(name) + "Siân".encode("cp1252"), ("byte 0xE2", "“CSV UTF-8”")),
    ("semicolons", lambda name: _good(name).replace(b",", b";"), ("by semicolons", "with commas")),
    ("tabs", lambda name: _good(name).replace(b",", b"\t"), ("separated by tabs", "with commas")),
    ("no header", lambda name: _good(name).partition(b"\n")[2], ("line 1: ", "The columns are")),
    ("header twice", lambda name: f"{_header(name)}\n".encode() * 2, ("line 2: names the", "out")),
    ("a column missing", lambda name: _good(name)[_good(name).index(b",") :], ("has no name",)),
    ("a wrong table", lambda _name: b"a,b,c\n1,2,3\n", ("line 1: there is no column “a”",)),
    ("a workbook", lambda _name: b"PK\x03\x04 and so on", ("a workbook that was named .csv",)),
    ("UTF-16", lambda name: _good(name).decode().encode("utf-16"), ("UTF-16", "“CSV UTF-8”")),
    ("UTF-16 bare", lambda name: _good(name).decode().encode("utf-16-le"), ("NUL", "UTF-16")),
    ("NUL bytes", lambda _name: bytes(99), ("holds NUL bytes", "save it as “CSV UTF-8”")),
    ("old Mac lines", lambda name: _good(name).replace(b"\n", b"\r") * 2, ("old Macintosh",)),
    ("an open quote", lambda name: _good(name) + b'"never\n', ("line 3: a quotation mark is",)),
    ("a stray quote", lambda name: _good(name) + b'"a"b,\n', ("line 3: ", "double those inside")),
    ("nothing", lambda _name: b"", ("is empty; its first line must name its columns",)),
    ("a column too many", lambda name: _good(name).replace(b"\n", b",x\n"), ("no column “x”",)),
    ("one line", lambda name: _good(name) + b"x" * 1_100_000, ("line 3: is over 1,024 KB long",)),
    ("too few cells", lambda name: _good(name) + b"2020,x\n", ("line 3: has only 2 cells",)),
    ("too many cells", lambda name: _good(name) + b"x,,,,,,,,,,,,x\n", ("line 3: has 13 cells",)),
)
"""What is wrong with a file, the bytes of a file of that name, and words of what is said."""


@pytest.fixture(scope="module")
def files_said(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """What is said of all the files, of seven names in each folder."""
    told = []
    names = list(GOOD)
    for start in range(0, len(FILES), len(names)):
        folder = tmp_path_factory.mktemp("files")
        for name, (_, make, _) in zip(names, FILES[start:], strict=False):
            (folder / f"{name}.csv").write_bytes(make(name))
        told.append(said(site, folder))
    return told


@pytest.mark.parametrize("number", range(len(FILES)), ids=[what for what, _, _ in FILES])
def test_a_wrong_file(files_said: Sequence[str], number: int) -> None:
    folder, place = divmod(number, len(GOOD))
    name = f"{list(GOOD)[place]}.csv"
    after = files_said[folder].partition(" faults in ")[2]
    own = [one for one in after.split(f" {name}")[1:] if one[:1] in {",", " "}]
    assert own, files_said[folder]
    for words in FILES[number][2]:
        assert any(words in one for one in own), files_said[folder]


def test_files_that_cannot_be_opened(site: Site, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "decisions.csv")
    (tmp_path / "officers.csv").symlink_to("officers.csv")
    (tmp_path / "remarks.csv").mkdir()
    told = said(site, tmp_path)
    assert "officers.csv cannot be read: Too many levels of symbolic links. Put a file" in told
    assert "decisions.csv is not a file; put the file itself there." in told
    assert "remarks.csv is not a file; put the file itself there." in told


# Whole sources --------------------------------------------------------------------------------


def _made(make: Callable[[Path], object], name: str = "book.xlsx") -> Callable[[Path], Path]:
    def source(folder: Path) -> Path:
        path = folder / name
        make(path)
        return path

    return source


def _bytes(data: bytes) -> Callable[[Path], Path]:
    return _made(lambda path: path.write_bytes(data))


def _truncated(path: Path) -> None:
    data = good_book(path).read_bytes()
    path.write_bytes(data[:-400])


def _bomb(path: Path) -> None:
    good_book(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/media/picture.png", b"?")
        archive.getinfo("xl/media/picture.png").file_size = 2**30


def _with_entity(path: Path) -> None:
    entity = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    repacked(
        good_book(path),
        lambda part, data: entity + data if part.endswith("sheet1.xml") else data,
    )


def _with_macros(path: Path) -> None:
    repacked(
        good_book(path),
        lambda _part, data: data.replace(
            b"vnd.openxmlformats-officedocument.spreadsheetml.sheet.main",
            b"vnd.ms-excel.sheet.macroEnabled.main",
        ),
    )


_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99)

SOURCES: Sequence[tuple[str, Callable[[Path], Path], int, tuple[str, ...]]] = (
    ("missing", lambda folder: folder / "none.xlsx", 2, ("There is nothing at", "give a workbook")),
    ("a pipe", _made(os.mkfifo), 2, ("neither a folder nor a file", "give a workbook")),
    ("a loop", _made(lambda path: path.symlink_to(path)), 2, ("leads back to itself", "give a")),
    ("one CSV file", lambda f: write(f, "remarks", [GOOD["remarks"]]), 2, ("Give the folder",)),
    ("an empty folder", lambda folder: folder, 1, ("holds none of the files authorities.csv",)),
    ("text", _bytes(b"year,text\n2020,Hello\n"), 1, ("text named like one", "import the folder")),
    ("random bytes", _bytes(bytes(range(256))), 1, ("is not a workbook", "(.xlsx)”")),
    ("cut short", _made(_truncated), 1, ("is cut short or damaged", "copy it again")),
    ("a zip bomb", _made(_bomb), 1, ("unpacks to more than", "delete what is not data")),
    (
        "a password",
        _bytes(_OLE + "EncryptedPackage".encode("utf-16-le")),
        1,
        ("take the password",),
    ),
    ("old .xls", _bytes(_OLE), 1, ("old Excel format (.xls)", "save it as “Excel Workbook")),
    ("macros", _made(_with_macros), 1, ("with macros (.xlsm)", "save it as “Excel Workbook")),
    ("an entity", _made(_with_entity), 1, ("document type or entity", "save it as")),
    ("Excel's own lock", _made(Path.touch, "~$a.xlsx"), 1, ("while a.xlsx is open", "close it")),
    (
        "other sheets",
        _made(lambda path: book(path, {"Sheet1": [["a"]], "officer": [["b"]]})),
        1,
        ("it holds “Sheet1”, “officer”", "Name each sheet", "did you mean officers?"),
    ),
    (
        "a sheet twice",
        _made(lambda path: book(path, {"remarks": [], "Remarks ": []})),
        1,
        ("sheets “remarks” and “Remarks ” are both remarks", "rename or delete"),
    ),
    (
        "merged cells, a wrong sheet",
        _made(
            lambda path: book(
                path,
                {"officers": sheet("remarks", {}), "remarks": sheet("remarks", {})},
                lambda made: made["remarks"].merge_cells("A4:A9"),
            )
        ),
        1,
        (
            "sheet remarks, cells A4:A9: are merged",
            "unmerge them",
            "sheet officers, row 1: these are the columns of remarks, not of officers",
        ),
    ),
)
"""What is wrong with a source, what makes it, the exit code, and words of what is said."""


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [pytest.param(make, code, words, id=what) for what, make, code, words in SOURCES],
)
def test_a_wrong_source(
    site: Site, tmp_path: Path, make: Callable[[Path], Path], code: int, words: tuple[str, ...]
) -> None:
    told = said(site, make(tmp_path), expect=code)
    for one in words:
        assert one in told


# What only looks bad --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [_CSV_ONLY, _BOOK_ONLY])
def test_what_only_looks_bad_is_taken(tmp_path: Path, kind: str) -> None:
    """Names that programs trip over, addresses that never receive mail, and letters with marks."""
    names = ("Null", "NA", "None", "TRUE", "Llŷr-Ŵyn", "Sia\u0302n", "O’Hara & “Sons” <x>")
    addresses = ("a@x.example", "a@x.test", "o'neill+x@x.example", "a@môn.example")
    people = [
        {
            **GOOD["officers"],
            "family_name": name,
            "email": addresses[number % len(addresses)],
            "active_from": f"19{number:02}-01-01",
            "active_to": f"19{number:02}-01-31",
        }
        for number, name in enumerate(names)
    ]
    source = tmp_path / "data"
    source.mkdir()
    if kind == _CSV_ONLY:
        good(source, "authorities")
        write(source, "officers", people)
    else:
        source = book(
            source / "book.xlsx",
            {"authorities": sheet("authorities", {}), "officers": sheet("officers", *people)},
        )
    site = Site(tmp_path)
    site.letters("import", str(source))
    with closing(sqlite3.connect(tmp_path / "letters.db")) as connection:
        found = connection.execute("SELECT family_name, email FROM officers ORDER BY id").fetchall()
    taken = (*names[:5], "Siân", names[6])
    assert [name for name, _ in found] == list(taken)
    assert {address for _, address in found} == {*addresses[:3], "a@xn--mn-8ja.example"}
