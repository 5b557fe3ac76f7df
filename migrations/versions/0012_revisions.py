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


def upgrade() -> None:
    with op.batch_alter_table("letters") as letters:
        letters.add_column(sa.Column("replaces_id", ID, nullable=True))
        letters.add_column(sa.Column("reissued_because", sa.Text(), nullable=True))
        letters.add_column(sa.Column("reissued_by", sa.Text(), nullable=True))
        letters.add_column(sa.Column("superseded_at", TIME, nullable=True))
        letters.create_foreign_key(
            op.f("fk_letters_replaces_id_letters"), "letters", ["replaces_id"], ["id"]
        )
        letters.create_check_constraint(
            op.f("ck_letters_reissue_whole"),
            "(replaces_id IS NULL) = (revision = 1)"
            " AND (replaces_id IS NULL) = (reissued_because IS NULL)"
            " AND (replaces_id IS NULL) = (reissued_by IS NULL)",
        )
