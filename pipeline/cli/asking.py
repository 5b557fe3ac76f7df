"""Asking whoever is at the terminal."""

import os
import select
import signal
import sys
from contextlib import suppress

import typer


def answer(question: str, default: str = "") -> str:
    """What somebody types to a question on standard error; `default` for Return alone.

    Raises Abort at the end of the input and for Ctrl-C, however quickly that comes.
    """
    shown = f" [{default}]" if default else ""
    try:
        typer.echo(f"{question}{shown}: ", nl=False, err=True)
        _await_line()
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        raise typer.Abort from None
    if not line:
        raise typer.Abort
    return line.strip() or default


def _await_line() -> None:
    """Wait until there is a line to read, or a signal.

    A signal that comes just before a read that waits is not heard until the read ends: Ctrl-C would
    do nothing. Waiting for both at once misses neither.
    """
    try:
        typed = sys.stdin.fileno()
    except (OSError, ValueError):  # not a file: there is nothing to wait for
        return
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        while typed not in select.select([typed, reader], [], [])[0]:
            with suppress(BlockingIOError):
                os.read(reader, 64)  # its handler has been called by now, and wants no end
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
