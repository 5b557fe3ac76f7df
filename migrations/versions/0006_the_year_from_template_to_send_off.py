"""The year from template to send-off has a record: what can happen in it.

Constraints stand here as literals on purpose: a migration that has been applied somewhere must not
change when the code does.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KINDS = "kind IN ('statistics_imported', 'start_begun', 'start_done', 'start_missed', 'run_opened', 'run_paused', 'run_resumed', 'run_refreshed', 'run_cancelled', 'run_approved', 'letter_prepared', 'letter_faulted', 'letter_withheld', 'letter_released', 'message_created', 'message_frozen', 'resend_requested', 'delivery_moved', 'answer_late', 'relay_in_trouble', 'relay_well_again', 'report_noted', 'returned_mail_seen', 'ledger_confirmed', 'edition_made', 'test_sent', 'letter_reissued', 'letters_forgotten', 'alert_raised', 'alert_cleared')"

# A table that is made anew on SQLite loses its triggers.
APPEND_ONLY = (
    "CREATE TRIGGER events_no_update BEFORE UPDATE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
    "CREATE TRIGGER events_no_delete BEFORE DELETE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
)


def upgrade() -> None:
    with op.batch_alter_table("events") as events:
        events.drop_constraint(op.f("ck_events_kind"), type_="check")
        events.create_check_constraint(op.f("ck_events_kind"), KINDS)
    if op.get_bind().dialect.name == "sqlite":
        for statement in APPEND_ONLY:
            op.execute(statement)
