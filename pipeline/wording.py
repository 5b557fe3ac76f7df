"""The covering email's words: `message.txt` and `message.html`, filled with the merge fields.

Whoever edits these files is trusted with words, not with code: a template may print fields, choose
with `if` and repeat with `for`, and nothing else. What is wrong with one is said in terms of its
file and line, when the files are read rather than when the letters go out.

In `message.txt` the first line is "Subject: ..." and the second is empty. Each further line is a
paragraph; where it comes out longer than 72 characters it is wrapped.
"""

import difflib
import re
import textwrap
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.errors import Misconfigured
from pipeline.message import Wording

TEXT_FILE: Final = "message.txt"
HTML_FILE: Final = "message.html"

_WIDTH: Final = 72
_TEXT_STARTS_AT: Final = 3  # after the subject and the empty line
_SUBJECT: Final = "Subject:"
_TAGS_ONLY: Final = re.compile(r"^([ \t]*(?:\{%(?:(?!%\}).)*%\}[ \t]*)+)\n", re.MULTILINE)

_PERMITTED: Final = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Getattr,
    nodes.Const,
    nodes.If,
    nodes.For,
    nodes.Not,
    nodes.And,
    nodes.Or,
    nodes.Compare,
    nodes.Operand,
    nodes.Filter,
)
_FILTERS: Final = frozenset({"join"})
_LOOP: Final = frozenset({"first", "last", "index"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WordingTemplates:
    """The covering email before its fields are filled in: subject, text and HTML as written.

    `place` is the folder they were read from, for messages to people.
    """

    subject: str
    text: str
    html: str
    place: str = "templates"


def read_wording(folder: Path) -> WordingTemplates:
    """Read both files of the folder and look at everything but the names of the fields.

    Raises `Misconfigured` naming the file and line that is missing, unreadable or not permitted.
    """
    text, html = _read(folder / TEXT_FILE), _read(folder / HTML_FILE)
    first, _, rest = text.partition("\n")
    second, _, body = rest.partition("\n")
    if not first.startswith(_SUBJECT) or not first.removeprefix(_SUBJECT).strip():
        raise Misconfigured(
            f"{folder / TEXT_FILE}, line 1: the first line must be the subject, for example "
            "Subject: Annual Review letter {{ letter_year }}."
        )
    if second.strip():
        raise Misconfigured(f"{folder / TEXT_FILE}, line 2: leave it empty, after the subject.")
    for file, words in ((TEXT_FILE, body), (HTML_FILE, html)):
        if not words.strip():
            raise Misconfigured(f"{folder / file} has no words in it.")
    templates = WordingTemplates(
        subject=first.removeprefix(_SUBJECT).strip(), text=body, html=html, place=str(folder)
    )
    _refuse(fault for part in _parts(templates) for fault in part.code_faults())
    return templates


def check(templates: WordingTemplates, fields: Collection[str]) -> None:
    """Raise `Misconfigured` if the templates use a name that is not among `fields`.

    A field "facts.courses" permits `facts.courses`, and "facts.*" any fact; either permits `facts`
    by itself. A field without a dot permits nothing below it.
    """
    known = frozenset(fields)
    _refuse(
        fault
        for part in _parts(templates)
        for fault in (*part.code_faults(), *part.name_faults(known))
    )


def render(templates: WordingTemplates, fields: Mapping[str, Any]) -> Wording:
    """Return the wording for one letter; `fields` are its merge fields, plain values.

    In the HTML, values are escaped. Raises `Misconfigured` for a field that is not there.
    """
    subject, text, html = (part.rendered(fields) for part in _parts(templates))
    return Wording(subject=subject.strip(), text=_wrapped(text), html=html)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One template, with the file it is in and the line of that file it starts at."""

    source: str
    file: str
    starts_at: int = 1
    markup: bool = False

    @property
    def template(self) -> str:
        """The source, the ends of lines that hold tags only made comments: they print nothing.

        Jinja's own trim_blocks would also join a line of words that ends in a tag to the next.
        """
        return _TAGS_ONLY.sub(r"\1{#\n#}", self.source)

    def code_faults(self) -> Iterator[str]:
        """Say what a template may not do, and where it does it."""
        try:
            yield from self._forbidden(self._tree())
        except TemplateSyntaxError as error:
            yield f"{self._line(error.lineno)}: {error.message}"

    def name_faults(self, known: frozenset[str]) -> Iterator[str]:
        """Say which names are no fields, and which field may have been meant."""
        try:
            tree = self._tree()
        except TemplateSyntaxError:
            return
        tops = {name.partition(".")[0] for name in known}
        for name, lineno in _names(tree, frozenset()):
            top, dot, _ = name.partition(".")
            if name in known or (name in tops and not dot) or (dot and f"{top}.*" in known):
                continue
            near = difflib.get_close_matches(name, sorted(known | tops), n=1)
            meant = f"; did you mean {near[0]}?" if near else "."
            yield f"{self._line(lineno)}: there is no field {name}{meant}"

    def rendered(self, fields: Mapping[str, Any]) -> str:
        """Fill in the fields."""
        try:
            return _compiled(self).render(fields)
        except TemplateSyntaxError as error:
            raise Misconfigured(f"{self._line(error.lineno)}: {error.message}") from error
        except (TemplateError, TypeError) as error:
            lines = [
                frame.lineno
                for frame in traceback.extract_tb(error.__traceback__)
                if frame.filename == self.file
            ]
            words = str(error).rstrip(".")
            raise Misconfigured(f"{self._line(lines[-1] if lines else 1)}: {words}.") from error

    def _tree(self) -> nodes.Template:
        return _environment(self.markup).parse(self.template, filename=self.file)

    def _line(self, lineno: int | None) -> str:
        return f"{self.file}, line {(lineno or 1) + self.starts_at - 1}"

    def _forbidden(self, node: nodes.Node) -> Iterator[str]:
        match node:
            case nodes.Getattr(attr=name) if name.startswith("_"):
                yield f"{self._line(node.lineno)}: the name {name} starts with an underscore."
            case nodes.Filter(name=name) if name not in _FILTERS:
                yield f"{self._line(node.lineno)}: the filter {name} is not permitted."
            case nodes.For(recursive=True):
                yield f"{self._line(node.lineno)}: a loop may not be recursive."
            case nodes.Getattr() | nodes.Filter() | nodes.For():
                pass
            case _ if not isinstance(node, _PERMITTED):
                what = type(node).__name__.lower()
                yield (
                    f"{self._line(node.lineno)}: a template may print fields and use if and for; "
                    f"this ({what}) is not permitted."
                )
                return
            case _:
                pass
        for child in node.iter_child_nodes():
            yield from self._forbidden(child)


def _parts(templates: WordingTemplates) -> tuple[_Part, _Part, _Part]:
    text_file = str(Path(templates.place) / TEXT_FILE)
    html_file = str(Path(templates.place) / HTML_FILE)
    return (
        _Part(source=templates.subject, file=text_file),
        _Part(source=templates.text, file=text_file, starts_at=_TEXT_STARTS_AT),
        _Part(source=templates.html, file=html_file, markup=True),
    )


def _names(node: nodes.Node, bound: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Yield every name that a field must answer to, dotted as written, with its line."""
    match node:
        case nodes.For():
            yield from _names(node.iter, bound)
            inner = bound | {each.name for each in node.find_all(nodes.Name) if each.ctx == "store"}
            for part in (*node.body, *([node.test] if node.test else [])):
                yield from _names(part, inner | {"loop"})
            for part in node.else_:
                yield from _names(part, bound)
        case nodes.Getattr(node=nodes.Name(name=top), attr=attribute):
            if top == "loop" and "loop" in bound:
                if attribute not in _LOOP:
                    yield f"loop.{attribute}", node.lineno
            elif top not in bound:
                yield f"{top}.{attribute}", node.lineno
        case nodes.Name(name=name, ctx="load"):
            if name not in bound:
                yield name, node.lineno
        case _:
            for child in node.iter_child_nodes():
                yield from _names(child, bound)


@cache
def _environment(markup: bool) -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        autoescape=markup,
        undefined=StrictUndefined,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@lru_cache(maxsize=16)
def _compiled(part: _Part) -> Template:
    environment = _environment(part.markup)
    code = environment.compile(part.template, filename=part.file)
    return Template.from_code(environment, code, environment.make_globals(None))


def _wrapped(text: str) -> str:
    """Wrap what is too long; where an optional paragraph is left out, one empty line stays."""
    lines: list[str] = []
    for line in text.splitlines():
        wrapped = textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
        if wrapped or (lines and lines[-1]):
            lines += wrapped or [""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(
            f"{path} is not UTF-8 (octet {error.start + 1}); save it as UTF-8 text."
        ) from error


def _refuse(faults: Iterable[str]) -> None:
    if found := list(dict.fromkeys(faults)):
        raise Misconfigured("\n".join(found))
