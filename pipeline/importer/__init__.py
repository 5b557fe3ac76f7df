"""CSV files or a workbook into the statistics tables: all that is right, or nothing and why.

`import_from` is the front door: it takes a folder of CSV files or a workbook, reads and checks it,
and stores it in one transaction; or it reports the faults within the files or sheets, between them
and against what is already stored, all at once. docs/data.md describes both for whoever supplies
the data.

Upwards from a single value: `cells`, `dates` and `structures` read one from its text, and `values`
gives the text of one that a spreadsheet keeps otherwise; `relations` says which of them a file or
sheet is made of. `lines` and `files` on one side, `package` and `workbook` on the other, turn what
was supplied into rows of cells; `reading` turns those into `tables`, and `origins` say where each
stands. `checks`, `changes` and `notes` hold those against a database, and `store` stores them.
"""

from pipeline.importer.changes import Counted
from pipeline.importer.files import FILES, read_folder
from pipeline.importer.origins import CsvFile
from pipeline.importer.relations import Row
from pipeline.importer.store import Loaded, Recorder, import_folder, import_from, load
from pipeline.importer.tables import Rows, Source, Tables
from pipeline.importer.workbook import SHEETS, read_workbook

__all__ = [
    "FILES",
    "SHEETS",
    "Counted",
    "CsvFile",
    "Loaded",
    "Recorder",
    "Row",
    "Rows",
    "Source",
    "Tables",
    "import_folder",
    "import_from",
    "load",
    "read_folder",
    "read_workbook",
]
