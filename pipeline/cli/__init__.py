"""The command line, one module for each kind of command; `app` puts them together."""

from pipeline.cli.app import main

__all__ = ["main"]
