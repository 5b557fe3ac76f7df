"""What was forgotten of people says so itself, and is not taken to be missing.

Events stay append-only but for one thing: of a run whose forgetting is itself on record, an event
may be reduced to what is nobody's name, address or words. What stays is listed here, and must stay;
everything else of the row is as it was.

Constraints stand here as literals on purpose: a migration that has been applied somewhere must not
change when the code does.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
WHOLE = "(forgotten_at IS NULL) = (forgotten_by IS NULL)"
FORGOTTEN = "kind = 'letters_forgotten'"
OF_NO_RUN = "('returned_mail_seen', 'relay_in_trouble', 'test_sent')"
STAYS = "('approvals_ended', 'attempt', 'averages_moved', 'before', 'by_run', 'changed', 'deliveries', 'digest', 'due_at', 'eml', 'from', 'kept', 'kind', 'letters', 'login', 'mail', 'matched_by', 'message', 'mode', 'outcome', 'pages', 'pdf', 'relay', 'replaces', 'report', 'resend_of', 'revision', 'sha256', 'shared', 'status', 'step', 'template_sha256', 'to', 'year')"

SQLITE = (
    "DROP TRIGGER events_no_update",
    f"""
    CREATE TRIGGER events_no_update BEFORE UPDATE ON events
    WHEN NOT (
        NEW.id = OLD.id AND NEW.at = OLD.at AND NEW.kind = OLD.kind
        AND NEW.run_id IS OLD.run_id AND NEW.letter_id IS OLD.letter_id
        AND NEW.message_id IS OLD.message_id AND NEW.delivery_id IS OLD.delivery_id
        AND NEW.person IS OLD.person AND NEW.once IS OLD.once
        AND (
            EXISTS (SELECT 1 FROM events AS f WHERE f.{FORGOTTEN} AND f.run_id = OLD.run_id)
            OR OLD.run_id IS NULL AND OLD.kind IN {OF_NO_RUN} AND EXISTS (
                SELECT 1 FROM events AS f WHERE f.{FORGOTTEN} AND f.run_id IS NULL
                AND CAST(substr(OLD.at, 1, 4) AS INTEGER) < json_extract(f.data, '$.before')
            )
        )
        AND NOT EXISTS (
            SELECT key, type, value FROM json_each(NEW.data)
            EXCEPT SELECT key, type, value FROM json_each(OLD.data) WHERE key IN {STAYS}
        )
        AND NOT EXISTS (
            SELECT key, type, value FROM json_each(OLD.data) WHERE key IN {STAYS}
            EXCEPT SELECT key, type, value FROM json_each(NEW.data)
        )
    )
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END
    """,  # noqa: S608 - made of the constants above
)
POSTGRESQL = (
    "DROP TRIGGER events_append_only ON events",
    "CREATE TRIGGER events_append_only BEFORE DELETE OR TRUNCATE ON events "
    "FOR EACH STATEMENT EXECUTE FUNCTION events_append_only()",
    f"""
    CREATE FUNCTION events_only_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.id = OLD.id AND NEW.at = OLD.at AND NEW.kind = OLD.kind
            AND NEW.run_id IS NOT DISTINCT FROM OLD.run_id
            AND NEW.letter_id IS NOT DISTINCT FROM OLD.letter_id
            AND NEW.message_id IS NOT DISTINCT FROM OLD.message_id
            AND NEW.delivery_id IS NOT DISTINCT FROM OLD.delivery_id
            AND NEW.person IS NOT DISTINCT FROM OLD.person
            AND NEW.once IS NOT DISTINCT FROM OLD.once
            AND (
                EXISTS (SELECT 1 FROM events AS f WHERE f.{FORGOTTEN} AND f.run_id = OLD.run_id)
                OR OLD.run_id IS NULL AND OLD.kind IN {OF_NO_RUN} AND EXISTS (
                    SELECT 1 FROM events AS f WHERE f.{FORGOTTEN} AND f.run_id IS NULL
                    AND extract(year FROM OLD.at AT TIME ZONE 'UTC') < (f.data ->> 'before')::int
                )
            )
            AND NEW.data::jsonb = (
                SELECT coalesce(jsonb_object_agg(key, value), '{{}}'::jsonb)
                FROM jsonb_each(OLD.data::jsonb) WHERE key IN {STAYS}
            )
        THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'events are append-only';
    END $$
    """,  # noqa: S608 - made of the constants above
    "CREATE TRIGGER events_only_forgotten BEFORE UPDATE ON events "
    "FOR EACH ROW EXECUTE FUNCTION events_only_forgotten()",
)


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.add_column("runs", sa.Column("forgotten_at", TIME, nullable=True))
    if sqlite:
        # Other tables refer to this one, so it cannot be made anew: a constraint can only come
        # with a new column.
        op.execute(
            f"ALTER TABLE runs ADD COLUMN forgotten_by TEXT CONSTRAINT ck_runs_forgotten_whole CHECK ({WHOLE})"
        )
    else:
        op.add_column("runs", sa.Column("forgotten_by", sa.Text(), nullable=True))
        op.create_check_constraint(op.f("ck_runs_forgotten_whole"), "runs", WHOLE)
    op.add_column("letters", sa.Column("forgotten_at", TIME, nullable=True))
    op.add_column("returned_mail", sa.Column("forgotten_at", TIME, nullable=True))
    op.create_index(
        "ix_events_forgotten",
        "events",
        ["run_id"],
        unique=False,
        sqlite_where=sa.text(FORGOTTEN),
        postgresql_where=sa.text(FORGOTTEN),
    )
    for statement in SQLITE if sqlite else POSTGRESQL:
        op.execute(statement)
