"""Engines turn the crank: the same pure step for each letter, here or elsewhere."""

from collections.abc import Callable

from pipeline.engines.dask import DaskEngine
from pipeline.engines.local import LocalEngine
from pipeline.run import Engine
from pipeline.settings import Settings


def chosen(settings: Settings, *, say: Callable[[str], None]) -> Engine:
    """The engine that `engine.kind` names; `say` is told, in a sentence, what it waits for."""
    if settings.engine.kind == "dask":
        return DaskEngine(settings, say)
    return LocalEngine(settings)
