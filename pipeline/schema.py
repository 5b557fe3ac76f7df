"""The tables: the year's statistics, and the ledger of what has been done with them.

The ledger's CHECK constraints and its partial index of open deliveries are made from
`pipeline.delivery`. Facts are stored and statuses derived; the one stored status is a delivery's,
because workers compete for it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from pipeline.delivery import LEASED, OPEN, Mode, State
from pipeline.letter import CASES, KINDS, MEASURES, NOUNS, OUTCOMES, ROLES
from pipeline.report import Kind, MatchedBy

VERSION = "0012"
"""The migration that these tables are the result of."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Utc(TypeDecorator[datetime]):
    """An aware time, stored in UTC. A time without a zone is refused: it could mean anything."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[datetime]:
        """TIMESTAMP WITH TIME ZONE on PostgreSQL; ISO text without zone on SQLite."""
        return dialect.type_descriptor(sa.DateTime(timezone=dialect.name != "sqlite"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC on the way in."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value!r}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Aware, in UTC, on the way out."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _one_of(column: str, values: Iterable[str]) -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER is a rowid on SQLite

# The year's statistics. A site with its own case-management database offers the same names and
# columns as views; then these tables stay empty and nothing below refers to them.

authorities = sa.Table(
    "authorities",
    metadata,
    sa.Column("code", sa.String(40), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("noun", sa.String(20), nullable=False, server_default="Council"),
    sa.Column("active_from", sa.Date),
    sa.Column("active_to", sa.Date),
    sa.Column("successor_code", sa.String(40)),
    sa.CheckConstraint(_one_of("kind", KINDS), name="kind"),
    sa.CheckConstraint(_one_of("noun", NOUNS), name="noun"),
)

officers = sa.Table(
    "officers",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("authority_code", sa.String(40), nullable=False, index=True),
    sa.Column("role", sa.String(30), nullable=False),
    sa.Column("honorific", sa.Text),
    sa.Column("given_name", sa.Text),
    sa.Column("family_name", sa.Text),
    sa.Column("post", sa.Text),
    sa.Column("email", sa.Text),
    sa.Column("active_from", sa.Date),
    sa.Column("active_to", sa.Date),
    sa.CheckConstraint(_one_of("role", ROLES), name="role"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("case_reference", sa.String(60), primary_key=True),
    sa.Column("authority_code", sa.String(40), nullable=False),
    sa.Column("received_on", sa.Date),
    sa.Column("decided_on", sa.Date, nullable=False),
    sa.Column("category", sa.Text),
    sa.Column("outcome", sa.String(40), nullable=False),
    sa.Column("remedied_early", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint(_one_of("outcome", OUTCOMES["decisions"]), name="outcome"),
    sa.Index("ix_decisions_period", "decided_on", "authority_code"),
)

compliance = sa.Table(
    "compliance",
    metadata,
    sa.Column("case_reference", sa.String(60), primary_key=True),
    sa.Column("authority_code", sa.String(40), nullable=False),
    sa.Column("recorded_on", sa.Date, nullable=False),
    sa.Column("outcome", sa.String(40), nullable=False),
    sa.CheckConstraint(_one_of("outcome", OUTCOMES["compliance"]), name="outcome"),
    sa.Index("ix_compliance_period", "recorded_on", "authority_code"),
)

remarks = sa.Table(
    "remarks",
    metadata,
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("authority_code", sa.String(40), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("text", sa.Text, nullable=False),
)

editions = sa.Table(
    "editions",
    metadata,
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("letter_date", sa.Date, nullable=False),
    sa.Column("published_on", sa.Date, nullable=False),
    sa.Column("period_start", sa.Date, nullable=False),
    sa.Column("period_end", sa.Date, nullable=False),
    sa.Column("signatory", sa.Text, nullable=False),
    sa.Column("signatory_posts", sa.JSON, nullable=False),
    sa.Column("facts", sa.JSON),
    sa.Column("copied_roles", sa.JSON),
    sa.Column("enclosures", sa.JSON),
    sa.Column("prepare_on", sa.Date),
    sa.Column("dispatch_at", Utc),
)

published_averages = sa.Table(
    "published_averages",
    metadata,
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("measure", sa.String(20), primary_key=True),
    sa.Column("percent", sa.Integer, nullable=False),
    sa.CheckConstraint(_one_of("kind", KINDS), name="kind"),
    sa.CheckConstraint(_one_of("measure", MEASURES), name="measure"),
    sa.CheckConstraint("percent BETWEEN 0 AND 100", name="percent"),
)

STATISTICS: tuple[sa.Table, ...] = (
    authorities,
    officers,
    decisions,
    compliance,
    remarks,
    editions,
    published_averages,
)

# The ledger.


class Stage(StrEnum):
    """Where a letter's fault lies: in what was pulled, or in making the file from it."""

    COMPOSE = "compose"
    PREPARE = "prepare"


class Step(StrEnum):
    """What the schedule starts by itself: making a year's letters, and sending them."""

    PREPARE = "prepare"
    DISPATCH = "dispatch"


class Event(StrEnum):
    """What can happen; the append-only story is written in these."""

    STATISTICS_IMPORTED = "statistics_imported"
    START_BEGUN = "start_begun"
    START_DONE = "start_done"
    START_MISSED = "start_missed"
    RUN_OPENED = "run_opened"
    RUN_PAUSED = "run_paused"
    RUN_RESUMED = "run_resumed"
    RUN_REFRESHED = "run_refreshed"
    RUN_CANCELLED = "run_cancelled"
    RUN_APPROVED = "run_approved"
    LETTER_PREPARED = "letter_prepared"
    LETTER_FAULTED = "letter_faulted"
    LETTER_WITHHELD = "letter_withheld"
    LETTER_RELEASED = "letter_released"
    MESSAGE_CREATED = "message_created"
    MESSAGE_FROZEN = "message_frozen"
    RESEND_REQUESTED = "resend_requested"
    DELIVERY_MOVED = "delivery_moved"
    ANSWER_LATE = "answer_late"
    RELAY_IN_TROUBLE = "relay_in_trouble"
    RELAY_WELL_AGAIN = "relay_well_again"
    REPORT_NOTED = "report_noted"
    RETURNED_MAIL_SEEN = "returned_mail_seen"
    LEDGER_CONFIRMED = "ledger_confirmed"
    EDITION_MADE = "edition_made"
    TEST_SENT = "test_sent"
    LETTER_REISSUED = "letter_reissued"
    LETTERS_FORGOTTEN = "letters_forgotten"
    ALERT_RAISED = "alert_raised"
    ALERT_CLEARED = "alert_cleared"


class Returned(StrEnum):
    """What a mail that came back can be; all but the first two wait for a person."""

    REPORT = "report"
    AUTO_REPLY = "auto_reply"
    UNMATCHED = "unmatched"
    FORGED = "forged"
    UNREADABLE = "unreadable"
    OTHER = "other"


runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("opened_at", Utc, nullable=False),
    sa.Column("opened_by", sa.Text, nullable=False),
    sa.Column("edition", sa.JSON, nullable=False),  # everything that all letters share, frozen
    sa.Column("template_sha256", sa.String(64), nullable=False),
    sa.Column("wording", sa.JSON, nullable=False),  # subject, text and HTML of the message, frozen
    sa.Column("cancelled_at", Utc),
    sa.Column("paused_at", Utc),  # while set, nothing of the run is sent
    sa.Column("paused_by", sa.Text),
    sa.Column("paused_because", sa.Text),
    sa.Column("forgotten_at", Utc),  # since then nobody is named in it (ledger/forgetting.py)
    sa.Column("forgotten_by", sa.Text),
    sa.CheckConstraint(
        "(paused_at IS NULL) = (paused_by IS NULL)"
        " AND (paused_at IS NULL) = (paused_because IS NULL)",
        name="paused_whole",
    ),
    sa.CheckConstraint("(forgotten_at IS NULL) = (forgotten_by IS NULL)", name="forgotten_whole"),
    sa.Index(
        "uq_runs_live_year",
        "year",
        unique=True,
        sqlite_where=sa.text("cancelled_at IS NULL"),
        postgresql_where=sa.text("cancelled_at IS NULL"),
    ),
)

letters = sa.Table(
    "letters",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("authority_code", sa.String(40), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    sa.Column("authority_name", sa.Text, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("figures", sa.JSON, nullable=False),  # parts, wholes, percents, averages
    sa.Column("fields", sa.JSON, nullable=False),  # the merge fields, as printed
    sa.Column("recipients", sa.JSON, nullable=False),
    sa.Column("fault", sa.Text),  # why it cannot be made; null while unknown or when prepared
    sa.Column("faulted_in", sa.String(10)),
    sa.Column("pdf", sa.Text),  # name within the archive
    sa.Column("pdf_sha256", sa.String(64)),
    sa.Column("docx_sha256", sa.String(64)),
    sa.Column("pages", sa.Integer),
    sa.Column("prepared_at", Utc),
    sa.Column("withheld_at", Utc),  # while set, the letter is not sent
    sa.Column("withheld_because", sa.Text),
    sa.Column("forgotten_at", Utc),  # when its part of forgetting the run was done
    sa.Column("replaces_id", sa.ForeignKey("letters.id")),  # the revision before, in a re-issue
    sa.Column("reissued_because", sa.Text),
    sa.Column("reissued_by", sa.Text),
    sa.Column(
        "superseded_at", Utc
    ),  # a newer revision has taken its place: it is not sent any more
    sa.CheckConstraint("(withheld_at IS NULL) = (withheld_because IS NULL)", name="withheld_whole"),
    sa.CheckConstraint(
        "(replaces_id IS NULL) = (revision = 1)"
        " AND (replaces_id IS NULL) = (reissued_because IS NULL)"
        " AND (replaces_id IS NULL) = (reissued_by IS NULL)",
        name="reissue_whole",
    ),
    sa.UniqueConstraint("run_id", "authority_code", "revision"),
    sa.CheckConstraint("revision >= 1", name="revision"),
    sa.CheckConstraint("fault IS NULL OR pdf IS NULL", name="fault_or_pdf"),
    sa.CheckConstraint(
        f"(fault IS NULL) = (faulted_in IS NULL)"
        f" AND (faulted_in IS NULL OR {_one_of('faulted_in', Stage)})",
        name="faulted_in",
    ),
    sa.CheckConstraint(
        "(pdf IS NULL) = (pdf_sha256 IS NULL) AND (pdf IS NULL) = (pages IS NULL)"
        " AND (pdf IS NULL) = (prepared_at IS NULL)",
        name="prepared_whole",
    ),
    # Few have one, and each look of the schedule asks for them.
    sa.Index(
        "ix_letters_fault",
        "run_id",
        sqlite_where=sa.text("fault IS NOT NULL"),
        postgresql_where=sa.text("fault IS NOT NULL"),
    ),
)

enclosures = sa.Table(
    "enclosures",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("letter_id", sa.ForeignKey("letters.id"), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("cases", sa.JSON, nullable=False),  # the rows, frozen when the run was opened
    sa.Column("cases_sha256", sa.String(64), nullable=False),  # by which a change is noticed
    sa.Column("file", sa.Text),  # name within the archive
    sa.Column("sha256", sa.String(64)),
    sa.UniqueConstraint("letter_id", "kind"),
    sa.CheckConstraint(_one_of("kind", CASES), name="kind"),
    sa.CheckConstraint("(file IS NULL) = (sha256 IS NULL)", name="made_whole"),
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("person", sa.Text, nullable=False),  # the name given
    sa.Column("login", sa.Text, nullable=False),  # one login is one person
    sa.Column("digest", sa.String(64), nullable=False),  # of all letters that were looked at
    sa.Column("approved_at", Utc, nullable=False),
    sa.Index("ix_approvals_run_id", "run_id"),
)

approved_letters = sa.Table(
    "approved_letters",
    metadata,
    sa.Column("approval_id", sa.ForeignKey("approvals.id"), primary_key=True, autoincrement=False),
    sa.Column("letter_id", sa.ForeignKey("letters.id"), primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("parts", sa.JSON, nullable=False),  # digests of what the digest is made of
    sa.Column("voided_at", Utc),  # it does not hold any more from then on
    sa.Column("voided_because", sa.Text),  # which parts have changed
    sa.CheckConstraint("(voided_at IS NULL) = (voided_because IS NULL)", name="voided_whole"),
    sa.Index("ix_approved_letters_letter_id", "letter_id"),
)

messages = sa.Table(
    "messages",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("letter_id", sa.ForeignKey("letters.id"), nullable=False),
    sa.Column("mode", sa.String(10), nullable=False),
    sa.Column("message_id", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("mailbox", sa.Text, nullable=False, server_default=sa.text("''")),  # From, as written
    sa.Column("reply_to", sa.Text),
    sa.Column("envelope_sender", sa.Text, nullable=False),  # before a delivery's mark
    sa.Column("recipients", sa.JSON, nullable=False),
    sa.Column("resend_of", sa.ForeignKey("messages.id")),
    sa.Column("reason", sa.Text),
    sa.Column("requested_by", sa.Text),
    sa.Column("request_key", sa.Text, unique=True),
    sa.Column("dated", Utc),  # the Date header: set with the frozen bytes, never again
    sa.Column("eml", sa.Text),  # name of the frozen bytes within the archive
    sa.Column("eml_sha256", sa.String(64)),
    sa.CheckConstraint(_one_of("mode", Mode), name="mode"),
    sa.CheckConstraint(
        "resend_of IS NULL OR (reason IS NOT NULL AND requested_by IS NOT NULL)",
        name="resend_explained",
    ),
    sa.CheckConstraint(
        "(dated IS NULL) = (eml IS NULL) AND (dated IS NULL) = (eml_sha256 IS NULL)",
        name="frozen_whole",
    ),
    sa.Index(
        "uq_messages_first",
        "letter_id",
        "mode",
        unique=True,
        sqlite_where=sa.text("resend_of IS NULL"),
        postgresql_where=sa.text("resend_of IS NULL"),
    ),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("message_id", sa.ForeignKey("messages.id"), nullable=False),
    sa.Column("letter_id", sa.ForeignKey("letters.id"), nullable=False),
    sa.Column("mode", sa.String(10), nullable=False),
    sa.Column("recipient", sa.Text, nullable=False),  # the address in the envelope
    sa.Column("token", sa.String(40)),  # its name on the envelope
    sa.Column(
        "envelope_sender", sa.Text, nullable=False, server_default=sa.text("''")
    ),  # where its reports come back to
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", Utc),
    sa.Column("due_at", Utc, nullable=False),
    sa.Column("settled_at", Utc),  # when it left the open states
    sa.Column("deferrals", sa.Integer, nullable=False, server_default="0"),  # times put off
    sa.Column(
        "domain", sa.Text, nullable=False, server_default=sa.text("''")
    ),  # the recipient's, lower case
    sa.UniqueConstraint("message_id", "recipient"),
    sa.CheckConstraint(_one_of("mode", Mode), name="mode"),
    sa.CheckConstraint(_one_of("state", State), name="state"),
    sa.CheckConstraint(
        f"({_one_of('state', LEASED)}) = (owner IS NOT NULL)"
        " AND (owner IS NULL) = (lease_until IS NULL)",
        name="leased",
    ),
    sa.CheckConstraint(
        f"({_one_of('state', OPEN)}) = (settled_at IS NULL)",
        name="settled",
    ),
    sa.Index(
        "uq_deliveries_open",
        "letter_id",
        "mode",
        "recipient",
        unique=True,
        sqlite_where=sa.text(_one_of("state", OPEN)),
        postgresql_where=sa.text(_one_of("state", OPEN)),
    ),
    # With the id, so that the first that is due is found without sorting all that are.
    sa.Index("ix_deliveries_due", "mode", "state", "due_at", "id"),
    sa.Index("uq_deliveries_token", "token", unique=True),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("delivery_id", sa.ForeignKey("deliveries.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("claimed_at", Utc, nullable=False),
    sa.Column("intent_at", Utc),
    sa.Column("ended_at", Utc),
    sa.Column("outcome", sa.String(20)),
    sa.Column("reply", sa.Text),
    sa.Column("queue_id", sa.Text),
    sa.Column("relay", sa.Text),
    sa.Column("local_host", sa.Text),  # this end of the connection, as the relay's log names it
    sa.Column("local_port", sa.Integer),
    sa.UniqueConstraint("delivery_id", "number"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("at", Utc, nullable=False),
    sa.Column("kind", sa.String(30), nullable=False),
    sa.Column("run_id", sa.ForeignKey("runs.id")),  # null for what belongs to no run
    sa.Column("letter_id", sa.ForeignKey("letters.id"), index=True),
    sa.Column("message_id", sa.ForeignKey("messages.id")),
    sa.Column("delivery_id", sa.ForeignKey("deliveries.id"), index=True),
    sa.Column("person", sa.Text),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("once", sa.Text, unique=True),  # what may be noted only once carries its key here
    sa.CheckConstraint(_one_of("kind", Event), name="kind"),
    # Asked by the trigger that lets nothing but forgetting change an event.
    sa.Index(
        "ix_events_forgotten",
        "run_id",
        sqlite_where=sa.text("kind = 'letters_forgotten'"),
        postgresql_where=sa.text("kind = 'letters_forgotten'"),
    ),
)

starts = sa.Table(
    "starts",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("step", sa.String(10), nullable=False),
    sa.Column("mode", sa.String(10), nullable=False),  # a rehearsal is not the real thing
    sa.Column("due_at", Utc, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", Utc),
    sa.Column("begun_at", Utc),
    sa.Column("done_at", Utc),
    sa.Column("missed_at", Utc),
    sa.UniqueConstraint("year", "step", "mode"),
    sa.CheckConstraint(_one_of("step", Step), name="step"),
    sa.CheckConstraint(_one_of("mode", Mode), name="mode"),
    sa.CheckConstraint("(owner IS NULL) = (lease_until IS NULL)", name="leased"),
    sa.CheckConstraint("done_at IS NULL OR missed_at IS NULL", name="done_or_missed"),
)

relays = sa.Table(
    "relays",
    metadata,
    sa.Column("relay", sa.Text, primary_key=True),  # as people name it
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),  # in a row
    sa.Column("in_trouble_since", Utc),
    sa.Column("retry_at", Utc),  # until then nobody tries
    sa.Column("reason", sa.Text),
    sa.CheckConstraint(
        "(in_trouble_since IS NULL) = (retry_at IS NULL)"
        " AND (in_trouble_since IS NULL) = (reason IS NULL)"
        " AND (in_trouble_since IS NULL) = (failures = 0)",
        name="trouble_whole",
    ),
)

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("cause", sa.Text, nullable=False),  # its key: in_doubt:2020
    sa.Column("mode", sa.String(10), nullable=False),  # a rehearsal is not the real thing
    sa.Column("what", sa.JSON, nullable=False),  # counts, codes and dates; nothing about a person
    sa.Column("raised_at", Utc, nullable=False),
    sa.Column("mailed_at", Utc),
    sa.Column("cleared_at", Utc),
    sa.Column("cleared_mailed_at", Utc),
    sa.Column("taken", sa.JSON, nullable=False),  # the addresses that have what is owed already
    sa.Column("owner", sa.Text),  # who is mailing it
    sa.Column("lease_until", Utc),
    sa.Column("mail_after", Utc),  # a mail that was put off is not tried before
    sa.CheckConstraint(_one_of("mode", Mode), name="mode"),
    sa.CheckConstraint("(owner IS NULL) = (lease_until IS NULL)", name="leased"),
    sa.Index(
        "uq_alerts_open",
        "cause",
        "mode",
        unique=True,
        sqlite_where=sa.text("cleared_at IS NULL"),
        postgresql_where=sa.text("cleared_at IS NULL"),
    ),
)

paces = sa.Table(
    "paces",
    metadata,
    sa.Column("relay", sa.Text, primary_key=True),
    sa.Column("domain", sa.Text, primary_key=True),  # empty: all domains together
    sa.Column("next_at", Utc, nullable=False),
)

returned_mail = sa.Table(
    "returned_mail",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),  # of what was read of it
    sa.Column("read_at", Utc, nullable=False),
    sa.Column("place", sa.Text, nullable=False),  # the mailbox, as people name it
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("size", sa.Integer, nullable=False),  # octets
    sa.Column("sender", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("dated", Utc),
    sa.Column("reason", sa.Text),  # why a person should look at it
    sa.Column("kept", sa.Text),  # its name within the archive
    sa.Column("seen_at", Utc),
    sa.Column("seen_by", sa.Text),
    sa.Column("seen_note", sa.Text),
    sa.Column("forgotten_at", Utc),
    sa.CheckConstraint(_one_of("kind", Returned), name="kind"),
    sa.CheckConstraint(
        "(seen_at IS NULL) = (seen_by IS NULL) AND (seen_at IS NULL) = (seen_note IS NULL)",
        name="seen_whole",
    ),
)

reports = sa.Table(
    "reports",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("once", sa.Text, nullable=False, unique=True),  # the same evidence has the same key
    sa.Column("mail_id", sa.ForeignKey("returned_mail.id")),  # null: from the relay's log
    sa.Column("delivery_id", sa.ForeignKey("deliveries.id"), nullable=False, index=True),
    sa.Column("noted_at", Utc, nullable=False),
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("matched_by", sa.String(12), nullable=False),
    sa.Column("status", sa.Text, nullable=False),  # enhanced status code, as 5.1.1
    sa.Column("said", sa.Text, nullable=False),  # the remote server's words
    sa.Column("remote", sa.Text, nullable=False),  # and its name
    sa.Column("moved_to", sa.String(10)),  # the state it has moved the delivery to, if it has
    sa.CheckConstraint(_one_of("kind", Kind), name="kind"),
    sa.CheckConstraint(_one_of("matched_by", (*MatchedBy, "relay_log")), name="matched_by"),
    sa.CheckConstraint(f"moved_to IS NULL OR {_one_of('moved_to', State)}", name="moved_to"),
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("place", sa.Text, primary_key=True),  # the mailbox, as people name it
    sa.Column("uidvalidity", sa.BigInteger, nullable=False),
    sa.Column("uid", sa.BigInteger, nullable=False),
)

instance = sa.Table(
    "instance",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(32), nullable=False),  # of this ledger, among all there are
    sa.CheckConstraint("id = 1", name="only_one"),
)
