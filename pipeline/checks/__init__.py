"""Everything that a run leans on, looked at before the day.

`look` looks at one thing after the other and yields what it finds, at once. Nothing is made that is
not there, nothing is changed, nothing is sent, and no file stays behind. A thing that fails does
not stop the others, and none is waited for without end.

`found` is what a check finds and how it is kept from failing; then a module for each kind of thing:
`program` (settings, Python, clock, memory), `databases` (ledger, statistics, runs, schedule),
`making` (template, wording, LibreOffice, fonts), `engine` (the cluster, if one makes the letters),
`keeping` (archive, captured mail), `mail` (mode, sender, relay), `returned` (what comes back);
`looking` puts them in order.
"""

from pipeline.checks.found import Check, Kind
from pipeline.checks.looking import look

__all__ = ["Check", "Kind", "look"]
