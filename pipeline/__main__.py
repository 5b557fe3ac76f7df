"""The entry of the command: `letters ...` and `python -m pipeline`.

It comes before everything else, so that Ctrl-C, a request to end and a closed terminal are quiet
even while the program is still loading.
"""

import os
import signal
from typing import NoReturn

_INTERRUPTED = 128 + signal.SIGINT


def main() -> NoReturn:
    """Load the command line and run it."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if one is not signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN:  # under nohup
            signal.signal(one, lambda *_: os._exit(_INTERRUPTED))  # nothing has been begun
    from pipeline import cli  # noqa: PLC0415 - see above

    cli.main()


if __name__ == "__main__":
    main()
