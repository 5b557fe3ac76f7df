"""Say whether the shipped sample may be brought into this project's database.

Made-up figures must never land among real ones, and a first look must never send mail. Prints

- `fresh`: nothing is there yet, or bringing the sample in was begun here and not ended;
- `there`: there is a database already, so nothing is brought in;
- `elsewhere`: the settings name another database, or mail that leaves the machine.
"""

import sys
from pathlib import Path

from pipeline.delivery import Mode
from pipeline.errors import Misconfigured
from pipeline.settings import Settings, load

BEGUN = Path("var/sample-begun")


def state(settings: Settings) -> str:
    """One of the three words, from the settings and what lies on disk."""
    kind, _, file = settings.database.url.partition(":///")
    if kind != "sqlite" or settings.source.url or settings.mail.mode is not Mode.CAPTURE:
        return "elsewhere"
    begun = (settings.project / BEGUN).exists()
    return "fresh" if begun or not settings.path(file).exists() else "there"


if __name__ == "__main__":
    try:
        sys.stdout.write(state(load()) + "\n")
    except Misconfigured as fault:
        sys.exit(str(fault))
