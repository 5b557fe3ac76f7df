"""What comes back: a mark on each envelope, returned mail, its reports, and a name for the ledger.

Constraints stand here as literals on purpose: a migration that has been applied somewhere must not
change when the code does. A test holds the result equal to pipeline.schema.
"""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
KINDS = "kind IN ('statistics_imported', 'start_begun', 'start_done', 'start_missed', 'run_opened', 'run_paused', 'run_resumed', 'run_refreshed', 'run_cancelled', 'run_approved', 'letter_prepared', 'letter_faulted', 'letter_withheld', 'letter_released', 'message_created', 'message_frozen', 'resend_requested', 'delivery_moved', 'answer_late', 'relay_in_trouble', 'relay_well_again', 'report_noted', 'returned_mail_seen', 'ledger_confirmed')"

# A table that is made anew on SQLite loses its triggers.
APPEND_ONLY = (
    "CREATE TRIGGER events_no_update BEFORE UPDATE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
    "CREATE TRIGGER events_no_delete BEFORE DELETE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
)


def upgrade() -> None:
    op.add_column(
        "messages", sa.Column("mailbox", sa.Text(), server_default=sa.text("''"), nullable=False)
    )
    op.add_column("messages", sa.Column("reply_to", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("local_host", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("token", sa.String(length=40), nullable=True))
    op.add_column(
        "deliveries",
        sa.Column("envelope_sender", sa.Text(), server_default=sa.text("''"), nullable=False),
    )
    op.execute(
        # What was planned without a token has none: one that can be guessed would prove nothing.
        "UPDATE deliveries SET envelope_sender ="
        " (SELECT envelope_sender FROM messages WHERE messages.id = deliveries.message_id)"
    )
    op.create_index(op.f("uq_deliveries_token"), "deliveries", ["token"], unique=True)
    op.create_table(
        "returned_mail",
        sa.Column("id", ID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("read_at", TIME, nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("dated", TIME, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("kept", sa.Text(), nullable=True),
        sa.Column("seen_at", TIME, nullable=True),
        sa.Column("seen_by", sa.Text(), nullable=True),
        sa.Column("seen_note", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('report', 'auto_reply', 'unmatched', 'forged', 'unreadable', 'other')",
            name=op.f("ck_returned_mail_kind"),
        ),
        sa.CheckConstraint(
            "(seen_at IS NULL) = (seen_by IS NULL) AND (seen_at IS NULL) = (seen_note IS NULL)",
            name=op.f("ck_returned_mail_seen_whole"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_returned_mail")),
        sa.UniqueConstraint("sha256", name=op.f("uq_returned_mail_sha256")),
    )
    op.create_table(
        "reports",
        sa.Column("id", ID, nullable=False),
        sa.Column("once", sa.Text(), nullable=False),
        sa.Column("mail_id", ID, nullable=True),
        sa.Column("delivery_id", ID, nullable=False),
        sa.Column("noted_at", TIME, nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("matched_by", sa.String(length=12), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("remote", sa.Text(), nullable=False),
        sa.Column("moved_to", sa.String(length=10), nullable=True),
        sa.CheckConstraint(
            "kind IN ('delivered', 'failed', 'delayed', 'relayed', 'expanded')",
            name=op.f("ck_reports_kind"),
        ),
        sa.CheckConstraint(
            "matched_by IN ('verp', 'envid', 'message_id', 'in_reply_to', 'relay_log')",
            name=op.f("ck_reports_matched_by"),
        ),
        sa.CheckConstraint(
            "moved_to IS NULL OR moved_to IN ('queued', 'claimed', 'sending', 'in_doubt', 'accepted', 'delivered', 'rejected', 'bounced', 'expired', 'cancelled')",
            name=op.f("ck_reports_moved_to"),
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_reports_delivery_id_deliveries")
        ),
        sa.ForeignKeyConstraint(
            ["mail_id"], ["returned_mail.id"], name=op.f("fk_reports_mail_id_returned_mail")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
        sa.UniqueConstraint("once", name=op.f("uq_reports_once")),
    )
    op.create_index(op.f("ix_reports_delivery_id"), "reports", ["delivery_id"], unique=False)
    op.create_table(
        "cursors",
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_cursors")),
    )
    instance = op.create_table(
        "instance",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_instance_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
    )
    op.bulk_insert(instance, [{"id": 1, "name": uuid.uuid4().hex}])
    with op.batch_alter_table("events") as events:
        events.drop_constraint(op.f("ck_events_kind"), type_="check")
        events.create_check_constraint(op.f("ck_events_kind"), KINDS)
    if op.get_bind().dialect.name == "sqlite":
        for statement in APPEND_ONLY:
            op.execute(statement)
