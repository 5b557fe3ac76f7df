"""Where the letters are dated: people read times as clocks in London show them."""

from typing import Final
from zoneinfo import ZoneInfo

LONDON: Final = ZoneInfo("Europe/London")
