"""What is enclosed with a letter is frozen with it.

Constraints stand here as literals on purpose: a migration that has been applied somewhere must not
change when the code does.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("editions", sa.Column("enclosures", sa.JSON(), nullable=True))
    op.create_table(
        "enclosures",
        sa.Column("id", ID, nullable=False),
        sa.Column("letter_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("cases", sa.JSON(), nullable=False),
        sa.Column("cases_sha256", sa.String(length=64), nullable=False),
        sa.Column("file", sa.Text(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.CheckConstraint("kind IN ('decisions', 'compliance')", name=op.f("ck_enclosures_kind")),
        sa.CheckConstraint(
            "(file IS NULL) = (sha256 IS NULL)", name=op.f("ck_enclosures_made_whole")
        ),
        sa.ForeignKeyConstraint(
            ["letter_id"], ["letters.id"], name=op.f("fk_enclosures_letter_id_letters")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enclosures")),
        sa.UniqueConstraint("letter_id", "kind", name=op.f("uq_enclosures_letter_id_kind")),
    )
