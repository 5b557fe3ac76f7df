"""One look: what has come up is put on record, what is over is cleared, and both are told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline import log
from pipeline.alerts.causes import Cause, Kind, causes, of_key
from pipeline.alerts.telling import Telling, tell
from pipeline.delivery import Mode
from pipeline.ledger import alerts
from pipeline.ledger.alerts import Raised
from pipeline.run import Pipeline
from pipeline.schema import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one look has changed, the worst first, and to how many mails that led.

    What had been over for a short time only, and is there again, is not among the `raised`.
    """

    raised: Sequence[Cause] = ()
    cleared: Sequence[Cause] = ()
    mails: int = 0


def update(pipeline: Pipeline, telling: Telling, now: datetime) -> Update:
    """Raise what is new, clear what is over, in the mode that is set, and mail what is owed.

    Safe to call again and from several processes. Raises Unavailable or Misconfigured if the ledger
    cannot be used; a mail that cannot be sent raises nothing.
    """
    ledger, mode = pipeline.ledger, pipeline.outbox.mode
    # Before the causes: what another server raises after this look at them is not this one's to
    # clear.
    standing = {one.cause: one for one in alerts.standing(ledger, mode)}
    found = {one.key: one for one in causes(pipeline, now)}
    raised = []
    for key, cause in found.items():
        before = standing.get(key)
        if before is None:
            new = alerts.raise_(ledger, key, mode, cause.what, quiet=telling.quiet, now=now)
            if new is not None:
                _log("alert.raised", cause, mode, again=new is Raised.AGAIN)
            if new is Raised.NEW:
                raised.append(cause)
        elif before.what != cause.what:
            alerts.change(ledger, before, cause.what)
    cleared = []
    for key, before in standing.items():
        if key not in found and alerts.clear(ledger, before, now=now):
            cause = of_key(key, before.what)
            _log("alert.cleared", cause, mode)
            cleared.append(cause)
    mails = tell(ledger, pipeline.outbox, telling, now=now)
    return Update(raised=tuple(raised), cleared=tuple(cleared), mails=mails)


def _log(event: str, cause: Cause, mode: Mode, *, again: bool | None = None) -> None:
    is_relay = cause.kind is Kind.RELAY
    fields: dict[str, log.Value] = {
        "kind": cause.kind,
        "year": cause.year,
        "step": None if is_relay or not cause.of else Step(cause.of),
        "relay": cause.of if is_relay else None,
        "mode": mode,
        "count": cause.what.get("count"),
        "again": again,
    }
    tell_log = log.info if event == "alert.cleared" or again else log.warning
    tell_log(event, **fields)
