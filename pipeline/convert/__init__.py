"""Turn a docx into a PDF with one LibreOffice that stays up, and never outlives its owner.

A `Converter` runs `uno_worker.py` under the distribution's own Python, the only one that can
`import uno`; the worker starts soffice.bin on a private profile and the two are one process group.
Whatever goes wrong with a letter (no answer in time, a crash, a refusal), the whole group is
killed, a new one started and the letter tried once more; a letter that fails twice is set aside
and the next one finds a fresh office. After a `kill -9` of the owner both processes die by
themselves; the directory they leave is swept by the next `Converter`.

`finish` then sets what two exports of the same docx differ in, and mends what LibreOffice left
undone: the bytes alone for a LibreOffice that is known to need no more, else through `rewriting`.

A `Lane` is a converter that loads one document for many letters of one `shape`, where `parity`
finds nothing that sets their PDFs apart from those of the letters' own docx.

`office` finds LibreOffice, `directory` is its private place, `sandbox` keeps it there.
"""

from pipeline.convert.converter import Converter
from pipeline.convert.finish import finish
from pipeline.convert.lane import Lane
from pipeline.convert.office import Office, find_office
from pipeline.convert.sandbox import Sandbox, find_sandbox

__all__ = ["Converter", "Lane", "Office", "Sandbox", "find_office", "find_sandbox", "finish"]
