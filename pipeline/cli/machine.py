"""The commands for whoever keeps the machine."""

from pipeline import bootstrap, migrate
from pipeline.cli.options import AsJson, Config, settings_now
from pipeline.display.console import out, print_json


def db_upgrade(as_json: AsJson = False, config: Config = None) -> None:  # noqa: ARG001
    """Create the ledger's tables, or bring them up to this version.

    An embedded SQLite ledger is upgraded by the commands that write to it; a PostgreSQL database
    only by this command, so that it happens when somebody means it. Several at once are one.
    Migrations only go up: back up the database before; the backup is the way back.
    """
    ledger = bootstrap.open_ledger(settings_now())
    try:
        before, after = migrate.upgrade(ledger)
        if as_json:
            print_json({"database": str(ledger), "from": before, "to": after})
        elif before == after:
            out.print(f"{ledger} is at version {after} already.", markup=False)
        else:
            out.print(f"{ledger} is now at version {after}.", markup=False)
    finally:
        ledger.close()
