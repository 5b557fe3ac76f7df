"""Runs can be paused, letters withheld, starts kept; what belongs to no run can be noted.

Constraints stand here as literals on purpose: a migration that has been applied somewhere must not
change when the code does. A test holds the result equal to pipeline.schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)

PAUSED = (
    "(paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NULL) = (paused_because IS NULL)"
)
WITHHELD = "(withheld_at IS NULL) = (withheld_because IS NULL)"
KINDS = "kind IN ('statistics_imported', 'start_begun', 'start_done', 'start_missed', 'run_opened', 'run_paused', 'run_resumed', 'run_refreshed', 'run_cancelled', 'run_approved', 'letter_prepared', 'letter_faulted', 'letter_withheld', 'letter_released', 'message_created', 'message_frozen', 'resend_requested', 'delivery_moved')"

# A table that is made anew on SQLite loses its triggers.
APPEND_ONLY = (
    "CREATE TRIGGER events_no_update BEFORE UPDATE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
    "CREATE TRIGGER events_no_delete BEFORE DELETE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
)


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.create_table(
        "starts",
        sa.Column("id", ID, nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=10), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("begun_at", TIME, nullable=True),
        sa.Column("done_at", TIME, nullable=True),
        sa.Column("missed_at", TIME, nullable=True),
        sa.CheckConstraint("step IN ('prepare', 'dispatch')", name=op.f("ck_starts_step")),
        sa.CheckConstraint("mode IN ('capture', 'redirect', 'live')", name=op.f("ck_starts_mode")),
        sa.CheckConstraint(
            "(owner IS NULL) = (lease_until IS NULL)", name=op.f("ck_starts_leased")
        ),
        sa.CheckConstraint(
            "done_at IS NULL OR missed_at IS NULL", name=op.f("ck_starts_done_or_missed")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_starts")),
        sa.UniqueConstraint("year", "step", "mode", name=op.f("uq_starts_year_step_mode")),
    )
    op.add_column("runs", sa.Column("paused_at", TIME, nullable=True))
    op.add_column("runs", sa.Column("paused_by", sa.Text(), nullable=True))
    op.add_column("letters", sa.Column("withheld_at", TIME, nullable=True))
    if sqlite:
        # Other tables refer to these two, so they cannot be made anew: a constraint can only come
        # with a new column.
        op.execute(
            f"ALTER TABLE runs ADD COLUMN paused_because TEXT CONSTRAINT ck_runs_paused_whole CHECK ({PAUSED})"
        )
        op.execute(
            f"ALTER TABLE letters ADD COLUMN withheld_because TEXT CONSTRAINT ck_letters_withheld_whole CHECK ({WITHHELD})"
        )
    else:
        op.add_column("runs", sa.Column("paused_because", sa.Text(), nullable=True))
        op.add_column("letters", sa.Column("withheld_because", sa.Text(), nullable=True))
        op.create_check_constraint(op.f("ck_runs_paused_whole"), "runs", PAUSED)
        op.create_check_constraint(op.f("ck_letters_withheld_whole"), "letters", WITHHELD)
    with op.batch_alter_table("events") as events:
        events.alter_column("run_id", existing_type=ID, nullable=True)
        events.drop_constraint(op.f("ck_events_kind"), type_="check")
        events.create_check_constraint(op.f("ck_events_kind"), KINDS)
    if sqlite:
        for statement in APPEND_ONLY:
            op.execute(statement)
