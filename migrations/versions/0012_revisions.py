"""A letter that replaces another says which, why, and on whose word.

Constraints stand here as literals on purpose: a migration that has been applied somewhere must not
change when the code does.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)

WHOLE = (
    "(replaces_id IS NULL) = (revision = 1)"
    " AND (replaces_id IS NULL) = (reissued_because IS NULL)"
    " AND (replaces_id IS NULL) = (reissued_by IS NULL)"
)


def upgrade() -> None:
    op.add_column("letters", sa.Column("reissued_because", sa.Text(), nullable=True))
    op.add_column("letters", sa.Column("superseded_at", TIME, nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        # Other tables refer to this one, so it cannot be made anew: a constraint can only come with
        # a new column.
        op.execute(
            "ALTER TABLE letters ADD COLUMN replaces_id INTEGER"
            " CONSTRAINT fk_letters_replaces_id_letters REFERENCES letters (id)"
        )
        op.execute(
            f"ALTER TABLE letters ADD COLUMN reissued_by TEXT CONSTRAINT ck_letters_reissue_whole CHECK ({WHOLE})"
        )
    else:
        op.add_column("letters", sa.Column("replaces_id", ID, nullable=True))
        op.add_column("letters", sa.Column("reissued_by", sa.Text(), nullable=True))
        op.create_foreign_key(
            op.f("fk_letters_replaces_id_letters"), "letters", "letters", ["replaces_id"], ["id"]
        )
        op.create_check_constraint(op.f("ck_letters_reissue_whole"), "letters", WHOLE)
