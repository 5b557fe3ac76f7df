"""The first tables: the year's statistics, and the ledger.

Constraints stand here as literals on purpose: a migration that has been applied somewhere must not
change when the code does. A test holds the result equal to pipeline.schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)

APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER events_no_update BEFORE UPDATE ON events "
        "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
        "CREATE TRIGGER events_no_delete BEFORE DELETE ON events "
        "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION events_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$",
        "CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION events_append_only()",
    ),
}


def upgrade() -> None:
    op.create_table(
        "authorities",
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("noun", sa.String(length=20), server_default="Council", nullable=False),
        sa.Column("active_from", sa.Date(), nullable=True),
        sa.Column("active_to", sa.Date(), nullable=True),
        sa.Column("successor_code", sa.String(length=40), nullable=True),
        sa.CheckConstraint(
            "kind IN ('county', 'district', 'metropolitan', 'unitary', 'london_borough', 'national_park', 'fire', 'combined', 'transport', 'waste', 'police', 'other')",
            name=op.f("ck_authorities_kind"),
        ),
        sa.CheckConstraint("noun IN ('Council', 'Authority')", name=op.f("ck_authorities_noun")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_authorities")),
    )
    op.create_table(
        "compliance",
        sa.Column("case_reference", sa.String(length=60), nullable=False),
        sa.Column("authority_code", sa.String(length=40), nullable=False),
        sa.Column("recorded_on", sa.Date(), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('complied', 'complied_late', 'not_complied')",
            name=op.f("ck_compliance_outcome"),
        ),
        sa.PrimaryKeyConstraint("case_reference", name=op.f("pk_compliance")),
    )
    op.create_index(
        "ix_compliance_period", "compliance", ["recorded_on", "authority_code"], unique=False
    )
    op.create_table(
        "decisions",
        sa.Column("case_reference", sa.String(length=60), nullable=False),
        sa.Column("authority_code", sa.String(length=40), nullable=False),
        sa.Column("received_on", sa.Date(), nullable=True),
        sa.Column("decided_on", sa.Date(), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("remedied_early", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('upheld', 'not_upheld', 'advice_given', 'referred_back', 'closed_after_initial_enquiries', 'incomplete_or_invalid')",
            name=op.f("ck_decisions_outcome"),
        ),
        sa.PrimaryKeyConstraint("case_reference", name=op.f("pk_decisions")),
    )
    op.create_index(
        "ix_decisions_period", "decisions", ["decided_on", "authority_code"], unique=False
    )
    op.create_table(
        "editions",
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("letter_date", sa.Date(), nullable=False),
        sa.Column("published_on", sa.Date(), nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("period_end", sa.Date(), nullable=False),
        sa.Column("signatory", sa.Text(), nullable=False),
        sa.Column("signatory_posts", sa.JSON(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=True),
        sa.Column("copied_roles", sa.JSON(), nullable=True),
        sa.Column("prepare_on", sa.Date(), nullable=True),
        sa.Column("dispatch_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("year", name=op.f("pk_editions")),
    )
    op.create_table(
        "officers",
        sa.Column("id", ID, nullable=False),
        sa.Column("authority_code", sa.String(length=40), nullable=False),
        sa.Column("role", sa.String(length=30), nullable=False),
        sa.Column("honorific", sa.Text(), nullable=True),
        sa.Column("given_name", sa.Text(), nullable=True),
        sa.Column("family_name", sa.Text(), nullable=True),
        sa.Column("post", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("active_from", sa.Date(), nullable=True),
        sa.Column("active_to", sa.Date(), nullable=True),
        sa.CheckConstraint(
            "role IN ('chief_executive', 'link_officer', 'monitoring_officer', 'leader', 'scrutiny_chair')",
            name=op.f("ck_officers_role"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_officers")),
    )
    op.create_index(
        op.f("ix_officers_authority_code"), "officers", ["authority_code"], unique=False
    )
    op.create_table(
        "published_averages",
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("measure", sa.String(length=20), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('county', 'district', 'metropolitan', 'unitary', 'london_borough', 'national_park', 'fire', 'combined', 'transport', 'waste', 'police', 'other')",
            name=op.f("ck_published_averages_kind"),
        ),
        sa.CheckConstraint(
            "measure IN ('upheld', 'compliance', 'remedy')",
            name=op.f("ck_published_averages_measure"),
        ),
        sa.CheckConstraint("percent BETWEEN 0 AND 100", name=op.f("ck_published_averages_percent")),
        sa.PrimaryKeyConstraint("year", "kind", "measure", name=op.f("pk_published_averages")),
    )
    op.create_table(
        "remarks",
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("authority_code", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("year", "authority_code", "position", name=op.f("pk_remarks")),
    )
    op.create_table(
        "runs",
        sa.Column("id", ID, nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("edition", sa.JSON(), nullable=False),
        sa.Column("template_sha256", sa.String(length=64), nullable=False),
        sa.Column("wording", sa.JSON(), nullable=False),
        sa.Column("cancelled_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(
        "uq_runs_live_year",
        "runs",
        ["year"],
        unique=True,
        sqlite_where=sa.text("cancelled_at IS NULL"),
        postgresql_where=sa.text("cancelled_at IS NULL"),
    )
    op.create_table(
        "approvals",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("approved_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_approvals_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint(
            "run_id", "person", "digest", name=op.f("uq_approvals_run_id_person_digest")
        ),
    )
    op.create_table(
        "letters",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("authority_code", sa.String(length=40), nullable=False),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("authority_name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("recipients", sa.JSON(), nullable=False),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("faulted_in", sa.String(length=10), nullable=True),
        sa.Column("pdf", sa.Text(), nullable=True),
        sa.Column("pdf_sha256", sa.String(length=64), nullable=True),
        sa.Column("docx_sha256", sa.String(length=64), nullable=True),
        sa.Column("pages", sa.Integer(), nullable=True),
        sa.Column("prepared_at", TIME, nullable=True),
        sa.CheckConstraint(
            "(pdf IS NULL) = (pdf_sha256 IS NULL) AND (pdf IS NULL) = (pages IS NULL) AND (pdf IS NULL) = (prepared_at IS NULL)",
            name=op.f("ck_letters_prepared_whole"),
        ),
        sa.CheckConstraint("fault IS NULL OR pdf IS NULL", name=op.f("ck_letters_fault_or_pdf")),
        sa.CheckConstraint(
            "(fault IS NULL) = (faulted_in IS NULL) AND (faulted_in IS NULL OR faulted_in IN ('compose', 'prepare'))",
            name=op.f("ck_letters_faulted_in"),
        ),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_letters_revision")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_letters_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_letters")),
        sa.UniqueConstraint(
            "run_id",
            "authority_code",
            "revision",
            name=op.f("uq_letters_run_id_authority_code_revision"),
        ),
    )
    op.create_table(
        "messages",
        sa.Column("id", ID, nullable=False),
        sa.Column("letter_id", ID, nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("envelope_sender", sa.Text(), nullable=False),
        sa.Column("recipients", sa.JSON(), nullable=False),
        sa.Column("resend_of", ID, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=True),
        sa.Column("request_key", sa.Text(), nullable=True),
        sa.Column("dated", TIME, nullable=True),
        sa.Column("eml", sa.Text(), nullable=True),
        sa.Column("eml_sha256", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "mode IN ('capture', 'redirect', 'live')", name=op.f("ck_messages_mode")
        ),
        sa.CheckConstraint(
            "(dated IS NULL) = (eml IS NULL) AND (dated IS NULL) = (eml_sha256 IS NULL)",
            name=op.f("ck_messages_frozen_whole"),
        ),
        sa.CheckConstraint(
            "resend_of IS NULL OR (reason IS NOT NULL AND requested_by IS NOT NULL)",
            name=op.f("ck_messages_resend_explained"),
        ),
        sa.ForeignKeyConstraint(
            ["letter_id"], ["letters.id"], name=op.f("fk_messages_letter_id_letters")
        ),
        sa.ForeignKeyConstraint(
            ["resend_of"], ["messages.id"], name=op.f("fk_messages_resend_of_messages")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("message_id", name=op.f("uq_messages_message_id")),
        sa.UniqueConstraint("request_key", name=op.f("uq_messages_request_key")),
    )
    op.create_index(
        "uq_messages_first",
        "messages",
        ["letter_id", "mode"],
        unique=True,
        sqlite_where=sa.text("resend_of IS NULL"),
        postgresql_where=sa.text("resend_of IS NULL"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", ID, nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("letter_id", ID, nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("settled_at", TIME, nullable=True),
        sa.CheckConstraint(
            "(state IN ('claimed', 'sending')) = (owner IS NOT NULL) AND (owner IS NULL) = (lease_until IS NULL)",
            name=op.f("ck_deliveries_leased"),
        ),
        sa.CheckConstraint(
            "(state IN ('queued', 'claimed', 'sending', 'in_doubt')) = (settled_at IS NULL)",
            name=op.f("ck_deliveries_settled"),
        ),
        sa.CheckConstraint(
            "mode IN ('capture', 'redirect', 'live')", name=op.f("ck_deliveries_mode")
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'claimed', 'sending', 'in_doubt', 'accepted', 'delivered', 'rejected', 'bounced', 'expired', 'cancelled')",
            name=op.f("ck_deliveries_state"),
        ),
        sa.ForeignKeyConstraint(
            ["letter_id"], ["letters.id"], name=op.f("fk_deliveries_letter_id_letters")
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_deliveries_message_id_messages")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "message_id", "recipient", name=op.f("uq_deliveries_message_id_recipient")
        ),
    )
    op.create_index("ix_deliveries_due", "deliveries", ["mode", "state", "due_at"], unique=False)
    op.create_index(
        "uq_deliveries_open",
        "deliveries",
        ["letter_id", "mode", "recipient"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'claimed', 'sending', 'in_doubt')"),
        postgresql_where=sa.text("state IN ('queued', 'claimed', 'sending', 'in_doubt')"),
    )
    op.create_table(
        "attempts",
        sa.Column("id", ID, nullable=False),
        sa.Column("delivery_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("claimed_at", TIME, nullable=False),
        sa.Column("intent_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("queue_id", sa.Text(), nullable=True),
        sa.Column("relay", sa.Text(), nullable=True),
        sa.Column("local_port", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_attempts_delivery_id_deliveries")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("delivery_id", "number", name=op.f("uq_attempts_delivery_id_number")),
    )
    op.create_table(
        "events",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("letter_id", ID, nullable=True),
        sa.Column("message_id", ID, nullable=True),
        sa.Column("delivery_id", ID, nullable=True),
        sa.Column("person", sa.Text(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("once", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('run_opened', 'letter_prepared', 'letter_faulted', 'run_approved', 'message_created', 'message_frozen', 'resend_requested', 'delivery_moved')",
            name=op.f("ck_events_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_events_delivery_id_deliveries")
        ),
        sa.ForeignKeyConstraint(
            ["letter_id"], ["letters.id"], name=op.f("fk_events_letter_id_letters")
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_events_message_id_messages")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_events_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("once", name=op.f("uq_events_once")),
    )
    op.create_index(op.f("ix_events_delivery_id"), "events", ["delivery_id"], unique=False)
    op.create_index(op.f("ix_events_letter_id"), "events", ["letter_id"], unique=False)
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)
