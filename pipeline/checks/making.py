"""What letters are made with: the template, the wording of the mail, LibreOffice and its fonts."""

import subprocess
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pipeline import stationery, wording
from pipeline.archive import Archive
from pipeline.checks.found import Looking, fault, note, of_error, ok, size, warning
from pipeline.checks.program import not_kept
from pipeline.convert import Converter, Office, Sandbox, find_office
from pipeline.convert.fonts import EQUALS, missing
from pipeline.convert.office import environment
from pipeline.errors import Misconfigured
from pipeline.figures import Counts
from pipeline.ledger.letters import Faulted, FrozenLetter
from pipeline.letter import (
    CHIEF_EXECUTIVE,
    MERGE_FIELDS,
    Authority,
    Edition,
    Officer,
    Record,
    compose,
    fields_of,
)
from pipeline.prepare import Preparer
from pipeline.proof import Names
from pipeline.settings import Settings
from pipeline.stationery import Stationery
from pipeline.template import CompiledTemplate, load_template, read_template

FONT_SECONDS = 15.0
_FACT = 1400  # stands for any of the year's facts where there is no edition


def template(settings: Settings, edition: Edition | None) -> Looking[CompiledTemplate | None]:
    """The letter's template, compiled as a run would."""
    path = _stationery(settings, edition).template
    try:
        compiled = load_template(path, fields=_fields(edition))
    except Misconfigured as error:
        first = of_error("template", error)
        yield replace(first, fix=f"{first.fix} All that is wrong with it: letters template check.")
        return None
    yield ok(
        "template",
        f"{path}: sound, {len(compiled.used)} fields, {_against(edition)}, "
        f"SHA-256 {compiled.sha256[:12]}.",
    )
    return compiled


def message(settings: Settings, edition: Edition | None) -> Looking[None]:
    """The covering email's words, which lie beside the template."""
    folder = _stationery(settings, edition).wording
    words = wording.read_wording(folder)
    wording.check(words, _fields(edition))
    yield ok(
        "message",
        f"{folder / wording.TEXT_FILE} and {wording.HTML_FILE}: sound, {_against(edition)}.",
    )


def _stationery(settings: Settings, edition: Edition | None) -> Stationery:
    """The edition's own, if it has any; without an edition, the configured ones."""
    template = settings.path(settings.template.path)
    if edition is None:
        return Stationery(template=template, wording=template.parent, own=False)
    return stationery.find(template, edition.year)


def _fields(edition: Edition | None) -> frozenset[str]:
    return frozenset(MERGE_FIELDS) if edition is None else fields_of(edition)


def _against(edition: Edition | None) -> str:
    if edition is None:
        return "though without an edition to hold its facts against"
    return f"fit for the edition of {edition.year}"


def office() -> Looking[Office | None]:
    """LibreOffice, and the Python that speaks to it."""
    found = find_office()
    yield ok(
        "LibreOffice",
        f"{found.version} ({found.program}), spoken to with uno under {found.python}.",
    )
    return found


def fonts(settings: Settings, edition: Edition | None = None) -> Looking[None]:
    """Whether the fonts that the template's words are set in are on this machine."""
    docx = read_template(_stationery(settings, edition).template)
    wanted = missing(docx, ())
    there = installed()
    if there is None:
        yield note(
            "fonts",
            f"The letter is set in {_listed(wanted)}; whether that is here cannot be told without "
            "fc-list.",
            "apt install fontconfig; without --quick a letter is made, which tells as well.",
        )
        return
    lacking = missing(docx, there)
    if lacking:
        instead = [
            f"{one} ({' or '.join(EQUALS[one])} does as well)" for one in lacking if one in EQUALS
        ]
        yield fault(
            "fonts",
            f"The letter is set in {_listed(lacking)}, which this machine does not have.",
            f"Install {_listed(instead or lacking)}; fonts-liberation has those for Arial, Times "
            "New Roman and Courier New. Or choose another font in the template.",
        )
        return
    names = {one.casefold() for one in there}
    told = []
    for one in wanted:
        equal = next((each for each in EQUALS.get(one, ()) if each.casefold() in names), None)
        if one.casefold() in names or equal is None:
            told.append(one)
        else:
            told.append(f"{one} (here {equal}, which is as wide)")
    yield ok("fonts", f"The letter is set in {_listed(told)}.")


def installed() -> list[str] | None:
    """The families of fonts that LibreOffice finds; None where they cannot be asked for."""
    try:
        done = subprocess.run(
            ["fc-list", "--format", "%{family}\\n"],  # noqa: S607 - on the path that LibreOffice has
            env=environment(Path("/nonexistent")),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FONT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    lines = done.stdout.decode(errors="replace").splitlines()
    return sorted({name.strip() for line in lines for name in line.split(",") if name.strip()})


def _listed(names: list[str]) -> str:
    *most, last = names or ["no font"]
    return f"{', '.join(most)} and {last}" if most else last


def conversion(
    settings: Settings,
    compiled: CompiledTemplate | None,
    found: Office | None,
    edition: Edition | None,
    sandbox: Sandbox | None,
) -> Looking[None]:
    """Make one letter from beginning to end: stamped, converted, proved, kept in memory alone."""
    if compiled is None or found is None or sandbox is None:
        lacking = "sound template" if compiled is None else "LibreOffice"
        if found is not None and compiled is not None:
            lacking += " kept apart"
        yield note("a letter", f"None was made, as there is no {lacking} to make it with.")
        return
    example = edition or _an_edition(compiled)
    letter = compose(_longest(), example, {"district": dict.fromkeys(_MEASURES, 45)})
    if letter.fault:
        raise Misconfigured(f"No letter of {example.year} could be composed: {letter.fault}")
    archive = Archive("memory://letters-check")
    began = time.monotonic()
    with Converter(
        found,
        timeout=settings.convert.timeout,
        memory=settings.convert.memory_mb * 1_000_000,
        sandbox=sandbox,
    ) as converter:
        started = time.monotonic()
        made = Preparer(
            template=compiled,
            converter=converter,
            archive=archive,
            names=Names([letter.authority_name]),
            dated=datetime.now(UTC),
        ).prepare(
            FrozenLetter(
                id=0,
                run_id=0,
                year=example.year,
                authority_code=letter.authority_code,
                authority_name=letter.authority_name,
                fields=letter.fields,
            )
        )
        ended = time.monotonic()
    if converter.sandbox != sandbox:
        yield not_kept(converter.sandbox)
    if isinstance(made, Faulted):
        yield fault(
            "a letter",
            f"A letter with long names could not be made: {made.reason}",
            "Put the template or LibreOffice right; a run would set letters like this one aside.",
        )
        return
    octets = len(archive.get(made.pdf, made.pdf_sha256))
    found_ = (
        f"One with long names was made and proved: {made.pages} pages, {size(octets)}; "
        f"LibreOffice started in {started - began:.1f} s and took {ended - started:.1f} s."
    )
    if (ended - started) * 3 > settings.convert.timeout:
        yield warning(
            "a letter",
            found_,
            f"convert.timeout is {settings.convert.timeout:g} s: set it to more.",
        )
    else:
        yield ok("a letter", found_)


_MEASURES = ("upheld", "compliance", "remedy")


def _longest() -> Record:
    """An authority with everything long that a letter may hold, and made up."""
    authority = Authority(
        code="E07000000",
        name="St Osyth’s, Great Wyrley & Weston-under-Lizard, Ynys Môn and Borough Council",
        kind="district",
    )
    post = "Joint Chief Executive, Town Clerk and Returning Officer"
    return Record(
        authority=authority,
        addressee=authority,
        officers=[
            Officer(
                role=CHIEF_EXECUTIVE,
                honorific="Dr",
                given_name=given,
                family_name=family,
                post=post,
                email=f"{number}@council.example",
            )
            for number, (given, family) in enumerate(
                (("Siân", "Featherstonehaugh-O’Brien"), ("Zoë", "Cholmondeley"))
            )
        ],
        counts=Counts(
            upheld=1234,
            not_upheld=321,
            remedied_early=99,
            complied=1000,
            complied_late=12,
            not_complied=3,
        ),
        remarks=[
            "We noted in one of our investigations how long your Council took to answer us, and "
            f"welcome the steps that it has since told us it takes. ({number} of 2)"
            for number in (1, 2)
        ],
    )


def _an_edition(compiled: CompiledTemplate) -> Edition:
    """A year made up, with whatever facts the template asks for."""
    day = date(2020, 7, 22)
    return Edition(
        year=day.year,
        letter_date=day,
        published_on=day + timedelta(days=7),
        period_start=date(2019, 4, 1),
        period_end=date(2020, 3, 31),
        signatory="Alex Jones",
        signatory_posts=["Local Government and Social Care Ombudsman", "Chair of the Commission"],
        facts={
            name.removeprefix("facts."): _FACT
            for name in compiled.used
            if name.startswith("facts.")
        },
        prepare_on=day - timedelta(days=7),
        dispatch_at=datetime(2020, 7, 22, 8, tzinfo=UTC),
    )
