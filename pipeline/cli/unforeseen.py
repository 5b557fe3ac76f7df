"""What the program did not foresee: told in a sentence, kept in a file for whoever mends it."""

import os
import sys
import tempfile
import traceback
from pathlib import Path

EXIT_CODE = 70
"""EX_SOFTWARE: a fault of the program itself."""


def told(error: Exception) -> str:
    """The sentence for an error that nothing in the program explains.

    The traceback goes into a file of its own that only this user can read: it may quote data.
    """
    where = "an unknown place"
    if frames := traceback.extract_tb(error.__traceback__):
        where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}"
    kept = _kept("".join(traceback.format_exception(error)))
    details = f"The details are in {kept}; give" if kept else "Give"
    return (
        f"Something happened that the program did not foresee ({type(error).__name__} at {where}). "
        f"Everything recorded so far is kept. {details} that to whoever looks after the program; "
        "running the command again goes on where it stopped."
    )


def _kept(report: str) -> str | None:
    try:
        handle, name = tempfile.mkstemp(prefix="letters-unforeseen-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{' '.join(sys.argv[:2])}\n{report}")
    except OSError:
        return None
    return name
