"""Where mail goes, whom it is from, and the relay; nothing is sent, and no sender is named."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from pipeline import bootstrap
from pipeline.address import ascii_address, split_mailbox
from pipeline.checks.found import Check, Looking, fault, note, ok, size, warning
from pipeline.delivery import Mode, NotTried
from pipeline.london import LONDON
from pipeline.oauth import may_rewrite
from pipeline.settings import Settings
from pipeline.transport import Offer, Relay, look

PATIENCE = 10.0
"""Seconds to wait for each thing that the relay says."""
ENDS_SOON = 21
"""Days that a certificate is good for below which somebody should renew it."""
SMALL = 1_000_000
"""Octets that a letter's message may come near to."""
_TOLD = ("SIZE", "STARTTLS", "AUTH", "DSN", "8BITMIME", "PIPELINING")
_NOWHERE = ("example", "test", "invalid", "localhost", "local")


def mode(settings: Settings) -> Looking[None]:
    """What becomes of mail, in plain words."""
    mail = settings.mail
    relay = f"the relay {settings.smtp.host} port {settings.smtp.port}"
    match mail.mode:
        case Mode.CAPTURE:
            yield ok(
                "mail",
                "capture: nothing leaves this machine, every message is kept in "
                f"{settings.path(mail.capture)}. The relay is not contacted, now or in a run.",
            )
        case Mode.REDIRECT:
            yield ok(
                "mail",
                f"redirect: every message goes to {split_mailbox(mail.redirect_to)[1]} alone, "
                f"through {relay}.",
            )
        case Mode.LIVE:
            yield note("mail", f"live: letters go to the authorities, through {relay}.")
    if settings.only_to:
        live = "" if mail.mode is Mode.LIVE else " once mail.mode is live"
        yield note(
            "recipients",
            f"Only addresses at {', '.join(settings.only_to)} are written to{live} "
            "(mail.only_to_domains); all other mail waits in the queue.",
        )


def alerts(settings: Settings) -> Looking[None]:
    """Who is told when a person is needed."""
    to = bootstrap.telling(settings).to
    if to:
        yield ok("alerts", f"Mailed to {', '.join(to)}, the way that mail.mode says.")
    else:
        yield note(
            "alerts",
            "alerts.to names nobody, so nobody is told by mail when a person is needed; that is in "
            "the log and in letters alerts alone.",
            "Name who looks after the letters in alerts.to.",
        )


def sender(settings: Settings) -> Looking[None]:
    """Whom the letters are from, and whether an answer could reach them."""
    mail = settings.mail
    answers = f"; answers go to {mail.reply_to}" if mail.reply_to else ""
    found = f"{mail.sender}{answers}."
    addresses = [split_mailbox(each)[1] for each in (mail.sender, mail.reply_to) if each]
    domains = [ascii_address(each).rpartition("@")[2].lower() for each in addresses]
    nowhere = [each for each in domains if _is_nowhere(each)]
    if not nowhere:
        yield ok("sender", found)
    elif mail.mode is Mode.CAPTURE:
        yield note(
            "sender",
            f"{found} The domain {nowhere[0]} is for examples, which is well while mail is "
            "captured.",
        )
    else:
        yield warning(
            "sender",
            f"{found} The domain {nowhere[0]} is for examples: relays may refuse it, and no answer "
            "or report could come back.",
            "Set mail.sender, and mail.reply_to if it is set, to addresses of your own.",
        )


def _is_nowhere(domain: str) -> bool:
    *_, second, top = ["", *domain.split(".")]
    return top in _NOWHERE or (second == "example" and top in {"com", "net", "org"})


def relay(settings: Settings, now: datetime) -> Looking[None]:
    """What the relay offers, and whether it lets us in; only where the mode needs it."""
    opened = bootstrap.outbox(settings).relay
    if opened is None:
        return
    known = opened()  # says what is wrong with the password's file
    seen = look(
        replace(known, timeout=PATIENCE, command_timeout=PATIENCE, connect_timeout=PATIENCE)
    )
    match seen:
        case NotTried():
            yield fault("relay", seen.reason, _fix(seen.reason))
        case Offer():
            yield from _offer(seen, _login(settings, known), now)
            if known.token is not None:
                yield from _refresh_token(settings)
            if known.security == "none" and not known.loopback:
                yield warning(
                    "relay encryption",
                    "Letters would cross the network to the relay unencrypted.",
                    "Set smtp.security to starttls or tls."
                    if "STARTTLS" in seen.extensions
                    else "Ask whoever runs the relay for TLS, and set smtp.security.",
                )


def _login(settings: Settings, known: Relay) -> str | None:
    """How the relay was logged in to, as a sentence; None where no login is set."""
    if known.username is None:
        return None
    if known.token is None:
        return f"It lets {known.username} in."
    tokens = bootstrap.access_tokens(settings)
    until = tokens.until if tokens is not None else None
    good = ""
    if until is not None:
        good = f" that is good until {until.astimezone(LONDON):%H:%M on %-d %B}, London time"
    return f"It lets {known.username} in with an access token{good}."


def _refresh_token(settings: Settings) -> Iterator[Check]:
    """Where a new refresh token would be kept, if not in the file that it takes the place of."""
    file = settings.path(settings.oauth2.refresh_token_file)
    if settings.oauth2.refresh_token_file and not may_rewrite(file):
        yield note(
            "refresh token",
            f"This program may not write {file} and its folder, so a new one is kept only until it "
            "ends.",
        )


def _offer(offer: Offer, login: str | None, now: datetime) -> Iterator[Check]:
    session = offer.session
    place = f"{session.host} port {session.port}"
    encrypted = f", {session.tls}" if session.tls else ", not encrypted"
    yield ok(
        "relay",
        f"{place} answers{encrypted}; it offers {_offered(offer.extensions)}. It called itself "
        f"“{session.greeting.partition(' ')[2][:80]}”.",
    )
    limit = offer.extensions.get("SIZE", "").partition(" ")[0]
    if limit.isdigit() and 0 < int(limit) < SMALL:
        yield warning(
            "relay size",
            f"The relay takes no message above {size(int(limit))}, and a letter may be larger.",
            "Ask whoever runs the relay to take at least 10 MB.",
        )
    if offer.certificate_until is not None:
        yield _certificate(offer.certificate_until, now)
    elif session.tls:
        yield note("relay certificate", "It is not verified, as the relay is on this machine.")
    if offer.refusal is not None:
        yield fault("relay login", offer.refusal, offer.fix or "")
    elif login is not None:
        yield ok("relay login", login)


def _offered(extensions: Mapping[str, str]) -> str:
    told = []
    for name in _TOLD:
        if name in extensions:
            value = extensions[name].strip()
            if name == "SIZE":
                value = size(int(value)) if value.isdigit() and int(value) else "without limit"
            told.append(f"{name} {value}".strip())
    lacking = [name for name in ("DSN", "8BITMIME", "PIPELINING") if name not in extensions]
    offered = ", ".join(told) or "nothing beyond the plain protocol"
    return f"{offered} (not {', '.join(lacking)})" if told and lacking else offered


def _certificate(until: datetime, now: datetime) -> Check:
    days = (until - now).days
    found = f"It is trusted, and good until {until.astimezone(LONDON):%-d %B %Y} ({days:,} days)."
    if days < ENDS_SOON:
        return warning(
            "relay certificate",
            found,
            "Let whoever runs the relay renew it before the letters go out.",
        )
    return ok("relay certificate", found)


def _fix(reason: str) -> str:
    """What a person can do about a relay that cannot be used."""
    if "certificate" in reason:
        return (
            "Name the relay in smtp.host as its certificate does, and let whoever runs it renew a "
            "certificate that has ended or is nobody's; if your own authority has signed it, name "
            "that authority's certificate in smtp.ca_file."
        )
    if "STARTTLS" in reason:
        return "Correct smtp.security (none, starttls or tls) and smtp.port (25, 587 or 465)."
    if "encryption failed" in reason:
        return "smtp.security tls goes with port 465, starttls with 587 or 25: correct one of them."
    return (
        "Check smtp.host, smtp.port and smtp.security, that the relay runs, and that no firewall "
        "stands between."
    )
