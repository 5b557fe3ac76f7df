"""A person is told once of what needs one, and told when it is over.

Constraints stand here as literals on purpose: a migration that has been applied somewhere must not
change when the code does.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", ID, nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("what", sa.JSON(), nullable=False),
        sa.Column("raised_at", TIME, nullable=False),
        sa.Column("mailed_at", TIME, nullable=True),
        sa.Column("cleared_at", TIME, nullable=True),
        sa.Column("cleared_mailed_at", TIME, nullable=True),
        sa.Column("taken", sa.JSON(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("mail_after", TIME, nullable=True),
        sa.CheckConstraint("mode IN ('capture', 'redirect', 'live')", name=op.f("ck_alerts_mode")),
        sa.CheckConstraint(
            "(owner IS NULL) = (lease_until IS NULL)", name=op.f("ck_alerts_leased")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(
        "uq_alerts_open",
        "alerts",
        ["cause", "mode"],
        unique=True,
        sqlite_where=sa.text("cleared_at IS NULL"),
        postgresql_where=sa.text("cleared_at IS NULL"),
    )
    op.create_index(
        "ix_letters_fault",
        "letters",
        ["run_id"],
        unique=False,
        sqlite_where=sa.text("fault IS NOT NULL"),
        postgresql_where=sa.text("fault IS NOT NULL"),
    )
