"""Approvals, for reading: what was approved, what still lacks it, and what has changed since."""

from collections.abc import Sequence
from typing import Any

from pipeline.display.console import counted, out, say
from pipeline.display.words import moment
from pipeline.ledger.approvals import PARTS, Approved, Standing, Voided

_SHOWN = 10  # letters that are named, before the rest is only counted


def print_approved(
    year: int,
    person: str,
    done: Approved,
    standing: Standing,
    lost: Sequence[Voided],
    *,
    asked: bool,
) -> None:
    """What somebody has just approved, and what is to come; `asked` if any approval was."""
    if not done.letters:
        say(out, f"There is no letter of {year} to approve: none is made and may go.")
        return
    letters = counted(done.letters, "letter")
    if done.new:
        say(
            out,
            f"{person} has approved {letters} of {year} as they stand (digest {done.digest[:12]}).",
        )
        if done.new < done.letters:
            say(
                out, f"{done.new:,} of them anew; the others had been before, and have not changed."
            )
    else:
        say(
            out,
            f"{person} has approved the {letters} of {year} before, and nothing has changed since "
            f"(digest {done.digest[:12]}).",
        )
    if done.left_out:
        one = done.left_out == 1
        say(
            out,
            f"{counted(done.left_out, 'letter')} {'is' if one else 'are'} not covered: withheld, "
            "or with a fault.",
        )
    if lost and done.new:
        print_voided(lost)
    if standing.wanted:
        say(out, still_lacking(year, standing), style="bold yellow")
    elif not asked:
        say(out, "None was needed: approval.people is 0 in the settings.")
    if standing.approved or not standing.wanted:
        say(out, f"To send what is approved: letters send {year}")


def still_lacking(year: int, standing: Standing) -> str:
    """How many people must approve how many letters before these are sent, in a sentence."""
    people = counted(standing.wanted, "more person", "more people")
    letters = counted(standing.lacking, "letter")
    they = "it is" if standing.lacking == 1 else "they are"
    others = ""
    if standing.approved:
        one = standing.approved == 1
        others = (
            f". {standing.approved:,} {'other is' if one else 'others are'} approved and may go"
        )
    return f"{people} must approve {letters} before {they} sent: letters approve {year}{others}"


def print_voided(lost: Sequence[Voided]) -> None:
    """Which approvals do not hold any more, and what has changed since they were given."""
    say(out, "No longer approved as it was:", style="bold")
    # What all letters share changes for all alike: said once, and not of each letter.
    alike: dict[tuple[str, tuple[str, ...], str], list[Voided]] = {}
    for one in lost:
        key = (one.person, tuple(one.because), moment(one.approved_at))
        alike.setdefault(key, []).append(one)
    for (person, because, at), some in alike.items():
        named = ", ".join(f"{one.name} ({one.authority})" for one in some[:_SHOWN])
        more = f" and {len(some) - _SHOWN:,} more" if len(some) > _SHOWN else ""
        say(
            out,
            f"{named}{more}: {_changed(because)}, since {person} approved on {at}",
            indent=2,
        )


def voided_facts(lost: Sequence[Voided]) -> list[dict[str, Any]]:
    """The same as plain values."""
    return [
        {
            "authority": one.authority,
            "name": one.name,
            "person": one.person,
            "approved_at": one.approved_at.isoformat(timespec="seconds"),
            "because": list(one.because),
        }
        for one in lost
    ]


def _changed(because: Sequence[str]) -> str:
    whole = [PARTS[one] for one in because if one in {"withheld", "earlier"}]
    parts = [PARTS[one] for one in because if one not in {"withheld", "earlier"}]
    if parts:
        last = parts.pop()
        said = f"{', '.join(parts)} and {last}" if parts else last
        whole.append(f"{said} changed")
    return ", ".join(whole)
