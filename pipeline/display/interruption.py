"""Being interrupted: by Ctrl-C, by a request to end, by a closed terminal."""

import errno
import os
import signal
import termios
import threading
from types import FrameType

_interruption = threading.Event()


def interrupted(number: int, _frame: FrameType | None) -> None:
    """Handle Ctrl-C, a request to end or a closed terminal: at once, else at the next step.

    An exception that a signal raises is lost where Python cannot let it through (in a finalizer,
    say); so it is also remembered, and whoever reports progress next is stopped.
    """
    _interruption.set()
    if number == signal.SIGHUP:
        _leave_a_closed_terminal()
    raise KeyboardInterrupt


def _leave_a_closed_terminal() -> None:
    """Let what is still said go nowhere: a terminal that is gone makes a fault of every line."""
    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] == errno.EIO:  # ENOTTY is a file or a pipe, which goes on
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, descriptor)
                os.close(nothing)


def stop_if_interrupted() -> None:
    """Raise KeyboardInterrupt if that has happened."""
    if _interruption.is_set():
        raise KeyboardInterrupt
