"""A command that is known by name and not imported before it is called."""

import gc
import signal
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

_REQUESTS_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Listed(TyperCommand):
    """A command as a list of commands has it: a name and one line; `place` is module.function.

    What it leans on is imported only when it is called, or asked for its help or its options.
    """

    def __init__(self, name: str, place: str, first_line: str) -> None:
        super().__init__(name, help=first_line, rich_markup_mode=None)
        self._module, _, self._function = place.rpartition(".")

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Go on with the command itself: this is where Typer comes to need more than its name."""
        return self.loaded().make_context(info_name, args, parent=parent, **extra)

    def loaded(self) -> Any:
        """The command itself, with its options and the whole of its help."""
        alone = typer.Typer(
            add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
        )
        # Not in the middle of a module, where Ctrl-C may come out as some other error
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS_TO_END)
        gc.disable()  # nothing that is loaded is rubbish, and looking for some takes a tenth longer
        try:
            module = import_module(f"pipeline.cli.{self._module}")
        finally:
            gc.enable()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        alone.command(self.name)(getattr(module, self._function))
        return typer.main.get_command(alone)
