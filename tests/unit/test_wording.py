"""The covering email's words: only fields, faults in terms of the file, nothing evaluated twice."""

import os
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline import wording as wordings
from pipeline.errors import LetterFault, Misconfigured
from pipeline.letter import MERGE_FIELDS
from pipeline.template import vocabulary
from pipeline.wording import WordingTemplates, check, read_wording, render

SHIPPED = Path(__file__).parents[2] / "templates"
FIELDS: Mapping[str, Any] = {
    "letter_date": "22 July 2020",
    "letter_year": "2020",
    "address_lines": ["Mr Partridge", "Chief Executive", "Stevenage Borough Council"],
    "salutation": "Mr Partridge",
    "authority": "Stevenage Borough Council",
    "noun": "Council",
    "succession": "",
    "replaces": "",
    "enclosures": "",
    "period_start": "1 April 2019",
    "period_end": "31 March 2020",
    "period_end_short": "31/03/20",
    "published_on": "29 July 2020",
    "facts": {"courses": "118"},
    "remarks": [],
    "signatory": "Michael King",
    "signatory_posts": [
        "Local Government and Social Care Ombudsman",
        "Chair, Commission for Local Administration in England",
    ],
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(
        text: str = "Dear {{ salutation }}\n",
        html: str = "<p>Dear {{ salutation }}</p>\n",
        subject: str = "Subject: Letter {{ letter_year }}\n\n",
    ) -> Path:
        (tmp_path / "message.txt").write_bytes((subject + text).encode())
        (tmp_path / "message.html").write_bytes(html.encode())
        return tmp_path

    return write


def test_the_shipped_wording_uses_merge_fields_only() -> None:
    check(read_wording(SHIPPED), MERGE_FIELDS)


def test_the_shipped_wording_reads_like_a_letter() -> None:
    wording = render(read_wording(SHIPPED), FIELDS)
    assert wording.subject == "Annual Review letter 2020: Stevenage Borough Council"
    assert wording.text.startswith("Dear Mr Partridge\n\nI attach our Annual Review letter 2020")
    assert wording.text.endswith(
        "Yours sincerely\n\nMichael King\nLocal Government and Social Care Ombudsman\n"
        "Chair, Commission for Local Administration in England\n"
    )
    assert "29 July 2020" in " ".join(wording.text.split())
    assert "\n\n\n" not in wording.text
    assert max(map(len, wording.text.splitlines())) <= 72


class _Reader(HTMLParser):
    """Collects the visible words and what would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.attributes: dict[str, str | None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {f"{tag}.{name}": value for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def test_the_shipped_html_says_the_same_and_fetches_nothing() -> None:
    said: tuple[dict[str, str], ...] = (
        {},
        {"succession": "This letter is about X. Y took over."},
        {"enclosures": "A list."},
    )
    for fields in ({**FIELDS, **one} for one in said):
        wording = render(read_wording(SHIPPED), fields)
        reader = _Reader()
        reader.feed(wording.html)
        assert "".join(reader.words) == "".join((wording.subject + wording.text).split())
        assert reader.attributes["html.lang"] == "en-GB"
        assert reader.tags.isdisjoint({"img", "script", "link", "style", "iframe"})
        assert not [name for name in reader.attributes if name.endswith((".src", ".href"))]
        assert "url(" not in wording.html


def test_a_successor_is_told_why_they_are_written_to() -> None:
    succession = (
        "This letter is about Wycombe District Council. Buckinghamshire Council took over its "
        "responsibilities on 1 April 2020."
    )
    wording = render(read_wording(SHIPPED), {**FIELDS, "succession": succession})
    assert succession in " ".join(wording.text.split())
    assert succession in wording.html
    assert "successor" not in render(read_wording(SHIPPED), FIELDS).text


def test_values_are_escaped_in_html_and_plain_in_text_and_never_evaluated(write: Write) -> None:
    folder = write("{{ authority }}\n", "{{ authority }}\n", "Subject: {{ authority }}\n\n")
    name = "Telford & Wrekin <Council> {{ signatory }} {% if %}"
    wording = render(read_wording(folder), {"authority": name})
    assert wording.subject == name
    assert wording.text == f"{name}\n"
    assert wording.html == ("Telford &amp; Wrekin &lt;Council&gt; {{ signatory }} {% if %}\n")


def test_long_lines_are_wrapped_and_short_ones_kept(write: Write) -> None:
    address = "https://www.example.test/" + "x" * 80
    text = f"one\ntwo\n\n\n\n{'word ' * 30}\n{address}\nwell-known {'x' * 62} self-made\n"
    wording = render(read_wording(write(text)), FIELDS)
    lines = wording.text.splitlines()
    assert lines[:4] == ["one", "two", "", ("word " * 14).strip()]
    assert address in lines
    assert lines[-2:] == ["well-known", "x" * 62 + " self-made"]


def test_if_for_join_and_dotted_names_are_permitted(write: Write) -> None:
    folder = write(
        "{% for post in signatory_posts %}{{ loop.index }} {{ post }}{% if not loop.last %}; "
        "{% endif %}{% else %}none{% endfor %}\n"
        "{{ address_lines|join(', ') }}\n"
        "{% if facts.courses == '118' and salutation or succession %}{{ facts.courses }}{% endif %}"
        "{# a note #}\n"
    )
    templates = read_wording(folder)
    check(templates, MERGE_FIELDS)
    assert render(templates, FIELDS).text == (
        "1 Local Government and Social Care Ombudsman; 2 Chair, Commission for\n"
        "Local Administration in England\n"
        "Mr Partridge, Chief Executive, Stevenage Borough Council\n118\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Dear\n\n{{ salutaton }}\n",
            r"txt, line 5: .*salutaton; did you mean salutation",
        ),
        ("{{ facts.a }}{{ fact.a }}\n", r"line 3: .*fact\.a"),
        ("{{ noun.upper }}\n", r"line 3: .*noun\.upper"),
        ("{% for a in remarks %}{{ a }}{% endfor %}{{ a }}\n", "no field a"),
        ("{% for a in remarks %}x{% else %}{{ a }}{% endfor %}\n", "no field a"),
        ("{% for a in remarks %}{{ loop.cycle }}{% endfor %}\n", r"loop\.cycle"),
        ("{{ loop.index }}\n", "loop"),
        ("{{ upheld.percnt }}\n", r"upheld\.percnt; did you mean upheld\.percent"),
    ],
)
def test_an_unknown_field_is_named_with_its_file_line_and_near_miss(
    write: Write, text: str, said: str
) -> None:
    templates = read_wording(write(text))
    with pytest.raises(Misconfigured, match=said):
        check(templates, MERGE_FIELDS)


def test_unknown_fields_in_subject_and_html_are_found_too(write: Write) -> None:
    folder = write(html="<p>\n{{ b }}</p>", subject="Subject: {{ a }}\n\n")
    with pytest.raises(Misconfigured) as caught:
        check(read_wording(folder), MERGE_FIELDS)
    assert f"{folder / 'message.txt'}, line 1: there is no field a" in str(caught.value)
    assert f"{folder / 'message.html'}, line 2: there is no field b" in str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        "{{ salutation.upper() }}",
        "{{ ''.__class__ }}",
        "{{ salutation.__class__ }}",
        "{{ salutation['__class__'] }}",
        "{{ salutation|upper }}",
        "{{ salutation|attr('x') }}",
        "{{ 9 ** 9 }}",
        "{{ salutation ~ 'x' }}",
        "{{ 'x' * 9 }}",
        "{{ salutation is defined }}",
        "{% set a = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'message.html' %}",
        "{% extends 'message.html' %}",
        "{% import 'message.html' as x %}",
        "{% block a %}{% endblock %}",
        "{% filter upper %}a{% endfilter %}",
        "{% with %}{% endwith %}",
        "{% for a in remarks recursive %}{{ a }}{% endfor %}",
        "{% for a, b in remarks %}{{ a }}{% endfor %}",
        "{{ [salutation] }}",
        "{{ salutation if noun else noun }}",
        "{{ self }}",
    ],
)
@pytest.mark.parametrize("where", ["subject", "text", "html"])
def test_anything_else_is_refused(write: Write, code: str, where: str) -> None:
    content = {"text": f"a\n{code}\n", "html": f"a\n{code}\n", "subject": f"Subject: {code}\n\n"}
    with pytest.raises(Misconfigured, match="message\\." + ("html" if where == "html" else "txt")):
        check(read_wording(write(**{where: content[where]})), MERGE_FIELDS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n{% if salutation %}\nb\n", r"message\.txt, line \d+: "),
        ("a\n{{ salutation }\n", r"message\.txt, line 4: "),
        ("a\nb\n{% nonsense %}\n", r"message\.txt, line 5: .*nonsense"),
    ],
)
def test_broken_syntax_is_said_with_its_line(write: Write, text: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        read_wording(write(text))


@pytest.mark.parametrize(
    ("subject", "line"),
    [("Betreff: x\n\n", 1), ("Subject:\n\n", 1), ("", 1), ("Subject: x\nDear\n", 2)],
)
def test_the_subject_has_its_place(write: Write, subject: str, line: int) -> None:
    with pytest.raises(Misconfigured, match=f"line {line}"):
        read_wording(write(subject=subject))


def test_a_file_that_is_not_there_or_not_text_is_named(write: Write) -> None:
    folder = write()
    (folder / "message.html").write_bytes(b"<p>caf\xe9</p>")
    with pytest.raises(Misconfigured, match=r"message\.html is not UTF-8"):
        read_wording(folder)
    (folder / "message.html").unlink()
    with pytest.raises(Misconfigured, match=r"message\.html cannot be read"):
        read_wording(folder)


@pytest.mark.parametrize("part", ["text", "html"])
def test_an_empty_file_is_refused(write: Write, part: str) -> None:
    with pytest.raises(Misconfigured, match="no words"):
        read_wording(write(**{part: "\n"}))


def test_windows_line_endings_and_a_byte_order_mark_do_no_harm(write: Write) -> None:
    folder = write()
    path = folder / "message.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    wording = render(read_wording(folder), FIELDS)
    assert (wording.subject, wording.text) == ("Letter 2020", "Dear Mr Partridge\n")


def test_a_field_that_is_missing_when_rendering_is_named_with_its_line(write: Write) -> None:
    templates = read_wording(write("Dear\n\n{{ facts.delegates }}\n"))
    with pytest.raises(Misconfigured, match=r"message\.txt, line 5: .*delegates"):
        render(templates, FIELDS)


def test_templates_can_be_given_without_files() -> None:
    templates = WordingTemplates(subject="{{ noun }}", text="{{ noun }}", html="{{ noun }}")
    wording = render(templates, FIELDS)
    assert (wording.subject, wording.text, wording.html) == ("Council", "Council\n", "Council")


@pytest.mark.parametrize(
    "changes",
    [
        {"authority": "a" * 300_000},
        {"signatory_posts": ["p" * 10_000] * 10_000},
    ],
)
def test_a_message_that_grows_beyond_measure_is_that_letters_fault(
    write: Write, changes: Mapping[str, Any]
) -> None:
    loop = "{% for post in signatory_posts %}{{ post }}{% endfor %}\n"
    templates = read_wording(write(f"{{{{ authority }}}}\n{loop * 100}"))
    with pytest.raises(LetterFault, match=r"message\.txt: .*grows beyond 256 KB"):
        render(templates, {**FIELDS, **changes})


@pytest.mark.parametrize("name", [" ", "x" * 600, "x\nBcc: eve@evil.example", "x\rBcc: e"])
def test_a_subject_that_comes_out_wrong_is_that_letters_fault(write: Write, name: str) -> None:
    templates = read_wording(write(subject="Subject: {{ authority }}\n\n"))
    with pytest.raises(LetterFault, match=r"message\.txt, line 1: .*the subject is"):
        render(templates, {**FIELDS, "authority": name})


def test_a_pipe_is_not_waited_for(write: Write) -> None:
    folder = write()
    (folder / "message.html").unlink()
    os.mkfifo(folder / "message.html")
    with pytest.raises(Misconfigured, match=r"message\.html is not a file"):
        read_wording(folder)


def test_the_lists_and_choices_are_those_that_letters_have() -> None:
    lists = {name for name, words in MERGE_FIELDS.items() if words.startswith("list:")}
    choices = {
        name.rpartition(".")[2]
        for name, words in MERGE_FIELDS.items()
        if words.startswith("whether")
    }
    assert lists == wordings._LISTS == vocabulary.LISTS
    assert choices == {each.strip(".") for each in wordings._CHOICES} == vocabulary.CHOICES
