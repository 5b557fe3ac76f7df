"""CSV files into the statistics tables: everything that is right, or nothing and every reason why.

`read_folder` reads and checks files without touching a database; `load` checks them against each
other and against what is already stored, and stores them in one transaction; `import_folder` does
both and reports the faults of both at once. docs/data.md describes the format for whoever supplies
the data.

Upwards from a single value: `cells`, `dates` and `structures` read one; `relations` says which of
them a file is made of; `lines` and `files` turn files into `tables`; `checks` and `changes` hold
those against a database, and `store` stores them.
"""

from pipeline.importer.changes import Counted
from pipeline.importer.files import FILES, read_folder
from pipeline.importer.relations import Row
from pipeline.importer.store import Loaded, import_folder, load
from pipeline.importer.tables import Rows, Tables

__all__ = [
    "FILES",
    "Counted",
    "Loaded",
    "Row",
    "Rows",
    "Tables",
    "import_folder",
    "load",
    "read_folder",
]
