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
from itertools import islice
from pathlib import Path
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.errors import LetterFault, Misconfigured
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
_LOOP: Final = frozenset({"first", "last", "index"})
_COMPARISONS: Final = frozenset({"eq", "ne"})
_LISTS: Final = frozenset({"address_lines", "remarks", "signatory_posts"})
_CHOICES: Final = (".rated", ".compared")
_KIBIBYTE: Final = 1024
_MAX_FILE: Final = 64 * _KIBIBYTE  # a covering email has about two
_MAX_PRINTED: Final = 256 * _KIBIBYTE
_MAX_SUBJECT: Final = 500
_LONGEST_TAG: Final = 500
_MOST_FAULTS: Final = 20
_DEEPEST: Final = 40
_TAG: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
# Control characters other than tab and the ends of lines, and those that turn the reading order.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_CLOSERS: Final = {"{{": "}}", "{%": "%}", "{#": "#}"}
_INSTEAD: Final = "write only {{ field }}, {% if field %} and {% for each in list %}"


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
    for file, words in ((TEXT_FILE, text), (HTML_FILE, html)):
        if found := _UNPRINTABLE.search(words):
            line = words.count("\n", 0, found.start()) + 1
            raise Misconfigured(
                f"{folder / file}, line {line}: the character U+{ord(found[0]):04X} cannot be"
                " printed; remove it."
            )
    templates = WordingTemplates(
        subject=first.removeprefix(_SUBJECT).strip(), text=body, html=html, place=str(folder)
    )
    parts = _parts(templates)
    _refuse(fault for part in parts for fault in part.code_faults())
    if not parts[0].says_something():
        raise Misconfigured(
            f"{folder / TEXT_FILE}, line 1: the subject is empty in some letters; put words or a"
            " field outside its {% if %}, for example Annual Review letter {{ letter_year }}."
        )
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
        for fault in (
            list(part.code_faults()) or [*part.name_faults(known), *part.kind_faults(known)]
        )
    )


def render(templates: WordingTemplates, fields: Mapping[str, Any]) -> Wording:
    """Return the wording for one letter; `fields` are its merge fields, plain values.

    In the HTML, values are escaped. Raises `Misconfigured` for a field that is not there;
    `LetterFault` for a subject that comes out empty, too long or on several lines, and for a
    message that grows beyond 256 KB.
    """
    parts = _parts(templates)
    subject, text, html = (part.rendered(fields) for part in parts)
    subject = subject.strip()
    if not subject or len(subject) > _MAX_SUBJECT or len(subject.splitlines()) > 1:
        what = "empty" if not subject else f"longer than {_MAX_SUBJECT} characters or one line"
        raise LetterFault(
            f"{parts[0].file}, line 1: with the fields of {_whose(fields)} the"
            f" subject is {what}; use other fields in it."
        )
    return Wording(subject=subject, text=_wrapped(text), html=html)


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
        for found in _TAG.finditer(self.source):
            if len(found[0]) > _LONGEST_TAG:
                line = self.source.count("\n", 0, found.start()) + 1
                yield f"{self._line(line)}: the tag is longer than {_LONGEST_TAG} characters."
                return
        if opened := _unclosed(self.source):
            line = self.source.count("\n", 0, opened.start()) + 1
            closer = _CLOSERS[opened[0]]
            yield (
                f"{self._line(line)}: the tag opened with {opened[0]} is not closed; write"
                f" {closer} where it ends."
            )
            return
        try:
            tree = self._tree()
        except TemplateSyntaxError as error:
            lineno = error.lineno
            if "looking for" in str(error.message):
                lineno = _opened_at(self.template) or lineno
            yield f"{self._line(lineno)}: {_in_our_words(error)}"
        except (RecursionError, ValueError, OverflowError):
            yield (
                f"{self.file}: too many brackets or too many {{% if %}} stand within one another,"
                f" or a number is too large; {_INSTEAD}."
            )
        else:
            deep = _too_deep(tree)
            if deep is not None:
                yield f"{self._line(deep.lineno)}: too much stands within one another here."
                return
            yield from self._forbidden(tree)

    def says_something(self) -> bool:
        """Whether something is printed whatever the fields say, as far as can be seen."""
        return _says_something(self._tree().body)

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
        pieces: list[str] = []
        size = 0
        try:
            for piece in _compiled(self).generate(fields):
                pieces.append(piece)
                size += len(piece)
                if size > _MAX_PRINTED:
                    raise LetterFault(
                        f"{self.file}: with the fields of {_whose(fields)} the"
                        f" message grows beyond {_MAX_PRINTED // _KIBIBYTE} KB, because a field or"
                        " a list is very long; print it less often, or shorten it in the data."
                    )
            return "".join(pieces)
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

    def _forbidden(self, node: nodes.Node, *, looping: bool = False) -> Iterator[str]:
        match node:
            case nodes.TemplateData() | nodes.Const():
                why = _unprintable(node)
            case nodes.Filter():
                why = _wrong_filter(node)
            case nodes.For():
                why = _wrong_loop(node, looping=looping)
            case nodes.Getattr(attr=name) if name.startswith("_"):
                why = f"the name {name} starts with an underscore, which no field does; correct it."
            case nodes.Compare(ops=signs) if any(each.op not in _COMPARISONS for each in signs):
                why = "of the comparisons only == and != can be used; ask for those."
            case _ if not isinstance(node, _PERMITTED):
                why = (
                    "a template may print fields and use if and for; this"
                    f" ({type(node).__name__.lower()}) is not permitted; {_INSTEAD}."
                )
            case _:
                why = ""
        if why:
            yield f"{self._line(node.lineno)}: {why}"
            return
        for child in node.iter_child_nodes():
            yield from self._forbidden(child, looping=looping or isinstance(node, nodes.For))

    def kind_faults(self, known: frozenset[str]) -> Iterator[str]:
        """Say where a list, a group or a choice is printed, and where what is no list repeated."""
        try:
            tree = self._tree()
        except TemplateSyntaxError:
            return
        groups = {name.partition(".")[0] for name in known if "." in name}
        for output in tree.find_all(nodes.Output):
            for printed in output.nodes:
                name = _dotted(printed)
                line = self._line(printed.lineno)
                if name in _LISTS:
                    yield (
                        f'{line}: {name} is a list; write {{{{ {name}|join(", ") }}}} or repeat it'
                        " with {% for %}."
                    )
                elif name in groups:
                    yield f"{line}: {name} stands for several fields; write {name}. and one's name."
                elif name.endswith(_CHOICES) and name in known:
                    yield f"{line}: {name} is true or false; ask it with {{% if {name} %}}."
        repeated = [each.iter for each in tree.find_all(nodes.For)]
        joined = [each.node for each in tree.find_all(nodes.Filter) if each.node is not None]
        for each in (*repeated, *joined):
            name = _dotted(each)
            if name not in _LISTS and (name in known or name in groups):
                yield (
                    f"{self._line(each.lineno)}: {name} is no list and cannot be repeated; the"
                    f" lists are {', '.join(sorted(_LISTS & known))}."
                )


def _unprintable(node: nodes.TemplateData | nodes.Const) -> str:
    match node:
        case nodes.TemplateData(data=words) if "{{" in words or "{%" in words:
            return "{% raw %} prints a tag as it stands; take it out."
        case nodes.Const(value=str() as words) if (
            _UNPRINTABLE.search(words) or "\n" in words or "\r" in words
        ):
            return f"{words!r} holds a character that cannot be printed; remove it."
        case _:
            return ""


def _wrong_filter(node: nodes.Filter) -> str:
    match node:
        case nodes.Filter(name="join", args=[nodes.Const(value=str())], kwargs=[]) if not (
            node.dyn_args or node.dyn_kwargs
        ):
            return ""
        case nodes.Filter(name="join"):
            return 'join needs the words to put between, and nothing else: join(", ").'
        case _:
            return f"the filter {node.name} is not permitted; {_INSTEAD}."


def _wrong_loop(node: nodes.For, *, looping: bool) -> str:
    if looping or node.recursive:
        # A few loops in one another over a long text would never end.
        return "a loop may not stand within a loop; write one after the other."
    if not isinstance(node.iter, nodes.Name | nodes.Getattr):
        return "a loop goes over a field that is a list; write its name."
    return ""


def _whose(fields: Mapping[str, Any]) -> str:
    return textwrap.shorten(str(fields.get("authority", "")), _WIDTH, placeholder="…") or "a letter"


def _dotted(node: nodes.Node) -> str:
    match node:
        case nodes.Name(name=name):
            return str(name)
        case nodes.Getattr(node=nodes.Name(name=top), attr=attribute):
            return f"{top}.{attribute}"
        case _:
            return ""


def _too_deep(tree: nodes.Node) -> nodes.Node | None:
    """A node beyond the depth that Python's own compiler bears, or None."""
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > _DEEPEST:
            return node
        waiting += ((child, depth + 1) for child in node.iter_child_nodes())
    return None


def _says_something(found: Iterable[nodes.Node]) -> bool:
    for node in found:
        match node:
            case nodes.Output():
                if _says_something(node.nodes):
                    return True
            case nodes.TemplateData(data=words) | nodes.Const(value=words):
                if str(words).strip():
                    return True
            case nodes.If():
                branches = [node.body, node.else_, *(each.body for each in node.elif_)]
                if all(_says_something(branch) for branch in branches):
                    return True
            case nodes.For():
                if _says_something(node.body) and _says_something(node.else_):
                    return True
            case _:
                return True
    return False


def _unclosed(source: str) -> re.Match[str] | None:
    """The first tag that is opened and not closed before the next one, or None."""
    opened = None
    for found in re.finditer(r"\{\{|\{%|\{#|\}\}|%\}|#\}", source):
        if opened is None:
            opened = found if found[0] in _CLOSERS else None
        elif found[0] == _CLOSERS[opened[0]]:
            opened = None
        elif opened[0] != "{#" and found[0] in _CLOSERS:
            return opened
    return opened


def _opened_at(source: str) -> int | None:
    """The line of the innermost `if` or `for` that is not closed."""
    opened: list[int] = []
    for found in re.finditer(r"\{%[-+]?\s*(if|for|endif|endfor)\b", source):
        if not found[1].startswith("end"):
            opened.append(source.count("\n", 0, found.start()) + 1)
        elif opened:
            opened.pop()
    return opened[-1] if opened else None


def _in_our_words(error: TemplateSyntaxError) -> str:
    words = str(error.message).rstrip(".")
    if "looking for" in words:
        return "{% endif %} or {% endfor %} is missing; write it where this ends."
    if re.search("char '[“”‘’]'", words):
        return "a tag holds curly quotes; write straight ones, \" or '."
    return f"the tag cannot be understood: {words}; {_INSTEAD}, and close each."


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
        if path.exists() and not path.is_file():
            raise Misconfigured(
                f"{path} is not a file; put the message's words there as a UTF-8 text file."
            )
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be read: {error.strerror}. The message's words lie beside the letter's"
            " template; put the file there, or correct template.path."
        ) from error
    if len(data) > _MAX_FILE:
        raise Misconfigured(
            f"{path} is larger than {_MAX_FILE // _KIBIBYTE} KB; a covering email is a few lines,"
            " and the letter is attached to it."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Misconfigured(
            f"{path} is not UTF-8 (octet {error.start + 1}); save it as UTF-8 text."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refuse(faults: Iterable[str]) -> None:
    if found := list(islice(dict.fromkeys(faults), _MOST_FAULTS)):
        raise Misconfigured("\n".join(found))
