"""What an import changed."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from pipeline.display.console import out
from pipeline.importer import Loaded

_ANY_WIDTH = 1_000  # characters


def print_loaded(loaded: Loaded, open_years: Sequence[int]) -> None:
    """What an import changed, relation by relation, and what to look at.

    `open_years` are those whose open run the import may concern.
    """
    table = _table(loaded)
    needed = out.measure(table, options=out.options.update(width=_ANY_WIDTH)).maximum
    if out.is_terminal and needed > out.width:
        for name, one in loaded.counts.items():
            changes = [f"{number:,} {what}" for what, number in asdict(one).items() if number]
            out.print(f"{name}: {', '.join(changes) or 'nothing'}", markup=False)
    else:
        out.print(table)
    for note in loaded.notes:
        out.print(f"Note: {note}", markup=False, style="yellow")
    for year in open_years:
        out.print(
            f"The run of {year} is open and keeps what it was opened with; to take this in: "
            f"letters refresh {year}",
            style="bold yellow",
        )


def _table(loaded: Loaded) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Relation")
    for heading in ("added", "replaced", "unchanged", "removed"):
        table.add_column(heading, justify="right")
    for name, one in loaded.counts.items():
        table.add_row(name, *(f"{number:,}" for number in asdict(one).values()))
    return table
