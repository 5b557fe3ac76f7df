"""What was put off, answers that come late, relays in trouble, and how fast mail may go.

Constraints stand here as literals on purpose: a migration that has been applied somewhere must not
change when the code does. A test holds the result equal to pipeline.schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
KINDS = "kind IN ('statistics_imported', 'start_begun', 'start_done', 'start_missed', 'run_opened', 'run_paused', 'run_resumed', 'run_refreshed', 'run_cancelled', 'run_approved', 'letter_prepared', 'letter_faulted', 'letter_withheld', 'letter_released', 'message_created', 'message_frozen', 'resend_requested', 'delivery_moved', 'answer_late', 'relay_in_trouble', 'relay_well_again')"

BEHIND_THE_AT = {
    "sqlite": "UPDATE deliveries SET domain = lower(substr(recipient, instr(recipient, '@') + 1))",
    "postgresql": "UPDATE deliveries SET domain = lower(split_part(recipient, '@', 2))",
}

# A table that is made anew on SQLite loses its triggers.
APPEND_ONLY = (
    "CREATE TRIGGER events_no_update BEFORE UPDATE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
    "CREATE TRIGGER events_no_delete BEFORE DELETE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
)


def upgrade() -> None:
    op.add_column(
        "deliveries", sa.Column("deferrals", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column(
        "deliveries", sa.Column("domain", sa.Text(), server_default=sa.text("''"), nullable=False)
    )
    op.execute(BEHIND_THE_AT[op.get_bind().dialect.name])
    op.create_table(
        "relays",
        sa.Column("relay", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("in_trouble_since", TIME, nullable=True),
        sa.Column("retry_at", TIME, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(in_trouble_since IS NULL) = (retry_at IS NULL) AND (in_trouble_since IS NULL) = (reason IS NULL) AND (in_trouble_since IS NULL) = (failures = 0)",
            name=op.f("ck_relays_trouble_whole"),
        ),
        sa.PrimaryKeyConstraint("relay", name=op.f("pk_relays")),
    )
    op.create_table(
        "paces",
        sa.Column("relay", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("next_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("relay", "domain", name=op.f("pk_paces")),
    )
    with op.batch_alter_table("events") as events:
        events.drop_constraint(op.f("ck_events_kind"), type_="check")
        events.create_check_constraint(op.f("ck_events_kind"), KINDS)
    if op.get_bind().dialect.name == "sqlite":
        for statement in APPEND_ONLY:
            op.execute(statement)
