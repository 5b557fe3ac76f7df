"""Who is told how long work goes on: a bar on a terminal, lines in a pipe, or nobody."""

from typing import Protocol


class Progress(Protocol):
    """Told how the work goes on, so that somebody can watch."""

    def begin(self, stage: str, total: int) -> None:
        """A stage of known size begins."""
        ...

    def advance(self) -> None:
        """One more is done."""
        ...

    def end(self) -> None:
        """The stage is over."""
        ...
