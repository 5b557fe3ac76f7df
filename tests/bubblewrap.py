"""bubblewrap, with which LibreOffice is kept apart: whether it can be tried here."""

import os
import shutil
from typing import NoReturn

import pytest

from pipeline.convert import Sandbox, find_sandbox

PACKAGE = "bubblewrap"


def absent() -> bool:
    """Whether the distribution's package is still to be installed."""
    return shutil.which("bwrap") is None


def needed() -> Sandbox:
    """How it keeps LibreOffice apart; where it cannot, skip what is being tested."""
    found = find_sandbox("auto")
    if found.bubblewrap is None:
        cannot(f"{found.reason}. {found.fix}")
    return found


def cannot(why: str) -> NoReturn:
    """Skip what cannot be tested, loudly; fail in CI where it could be installed.

    A machine whose kernel or container refuses it is one on which the program does without.
    """
    if os.environ.get("CI") == "true" and absent():
        pytest.fail(why, pytrace=False)
    pytest.skip(f"NOT TESTED: {why}")
