"""Settings: `config/letters.toml`, overridden by LETTERS_<SECTION>__<KEY> in the environment.

Nothing is read at import. What is wrong is said with the name of the key, where it was set and what
it may be, all faults at once. Of the values only numbers, choices, addresses and home folders are
repeated, and of the relay's only numbers: a URL may hold a password, and somebody may have put the
relay's in the wrong place.

`sections` says what can be set, `reading` finds and reads the file, `faults` words what is wrong.
"""

from pipeline.settings.reading import CONFIG, find_project, load
from pipeline.settings.sections import ENV_PREFIX, SECRET_FILES, Settings

__all__ = ["CONFIG", "ENV_PREFIX", "SECRET_FILES", "Settings", "find_project", "load"]
