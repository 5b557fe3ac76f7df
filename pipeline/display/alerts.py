"""What needs a person, the worst first, and what to do about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.text import Text

from pipeline.alerts import Cause, Telling, of_key, sentence, title, to_do
from pipeline.delivery import Mode
from pipeline.display.console import counted, out, row, say
from pipeline.display.words import moment
from pipeline.ledger.alerts import Alert

SHOWN = 20
"""How many of those that are over are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """What needs a person now, and its alert; None if no look of the schedule has met it yet."""

    cause: Cause
    alert: Alert | None


def print_alerts(found: Sequence[Open], elsewhere: int, mode: Mode, telling: Telling) -> None:
    """What is open in the mode that is set; `elsewhere` is how many more are in other modes."""
    if not found:
        out.print("Nothing needs a person.", style="green")
    for number, one in enumerate(found, start=1):
        for heading, text, style in (
            (f"{number}.", sentence(one.cause), "bold red"),
            ("", to_do(one.cause, mode), ""),
            ("", _told(one.alert, telling), "dim"),
        ):
            row(out, heading, text, width=2, indent=0, style=style)
    if elsewhere:
        out.print(
            f"{counted(elsewhere, 'alert')} more in another mode than {mode.value}: "
            "letters alerts --all",
            style="yellow",
        )


def print_history(others: Sequence[Alert], over: Sequence[Alert]) -> None:
    """What is open in other modes, and the last of what is over."""
    for heading, alerts in (("Open in other modes:", others), ("Over:", over[:SHOWN])):
        if alerts:
            out.print()
            out.print(heading, style="bold")
        for one in alerts:
            text = Text(f"{_capital(title(of_key(one.cause, one.what)))}")
            until = f" to {moment(one.cleared_at)}" if one.cleared_at else ""
            text.append(f" ({one.mode.value}): {_from(one)} {moment(one.raised_at)}{until}")
            say(out, text, indent=2)
    if len(over) > SHOWN:
        out.print(f"  and {len(over) - SHOWN:,} more; --json lists all of them.")


def facts(found: Sequence[Open], mode: Mode) -> list[dict[str, Any]]:
    """What is open in the mode that is set, for scripts."""
    return [alert_facts(one.cause, mode) | record_facts(one.alert, mode=mode) for one in found]


def recorded_facts(alerts: Sequence[Alert]) -> list[dict[str, Any]]:
    """Alerts as they are on record, for scripts."""
    return [
        alert_facts(of_key(one.cause, one.what), one.mode) | record_facts(one, mode=one.mode)
        for one in alerts
    ]


def alert_facts(cause: Cause, mode: Mode) -> dict[str, Any]:
    """One cause for scripts: plain values."""
    return {
        "cause": cause.key,
        "kind": cause.kind.value,
        "year": cause.year,
        "what": dict(cause.what),
        "sentence": sentence(cause),
        "to_do": to_do(cause, mode),
    }


def record_facts(alert: Alert | None, *, mode: Mode) -> dict[str, Any]:
    """What is on record of an alert; nothing if it was not met by a look of the schedule yet."""
    return {
        "mode": mode.value,
        "raised_at": None if alert is None else _iso(alert.raised_at),
        "mailed_at": None if alert is None else _iso(alert.mailed_at),
        "cleared_at": None if alert is None else _iso(alert.cleared_at),
        "cleared_mailed_at": None if alert is None else _iso(alert.cleared_mailed_at),
    }


def _told(alert: Alert | None, telling: Telling) -> str:
    """Since when it is known, and whether anybody was told."""
    if alert is None:
        return "The schedule has not met it yet: its next look does."
    since = f"Since {moment(alert.raised_at)}"
    if alert.mailed_at is not None and alert.cleared_mailed_at is None:
        return f"{since}; mailed on {moment(alert.mailed_at)}."
    if not telling.to:
        return f"{since}; nobody is mailed, as alerts.to names nobody."
    if alert.cleared_mailed_at is not None:
        return f"{since}, and again since; to be mailed if it lasts."
    return f"{since}; not mailed yet."


def _from(alert: Alert) -> str:
    return "since" if alert.cleared_at is None else "from"


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
