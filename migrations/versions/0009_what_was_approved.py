"""An approval is of each letter as it stood, and ends for that letter alone.

Constraints stand here as literals on purpose: a migration that has been applied somewhere must not
change when the code does.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("approvals", sa.Column("login", sa.Text(), nullable=True))
    # What was approved before was under a name alone, which stood for one person.
    op.execute("UPDATE approvals SET login = lower(person)")
    with op.batch_alter_table("approvals") as approvals:
        approvals.alter_column("login", existing_type=sa.Text(), nullable=False)
        approvals.drop_constraint(op.f("uq_approvals_run_id_person_digest"), type_="unique")
        approvals.create_index("ix_approvals_run_id", ["run_id"], unique=False)
    op.create_table(
        "approved_letters",
        sa.Column("approval_id", ID, autoincrement=False, nullable=False),
        sa.Column("letter_id", ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("parts", sa.JSON(), nullable=False),
        sa.Column("voided_at", TIME, nullable=True),
        sa.Column("voided_because", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(voided_at IS NULL) = (voided_because IS NULL)",
            name=op.f("ck_approved_letters_voided_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["approval_id"],
            ["approvals.id"],
            name=op.f("fk_approved_letters_approval_id_approvals"),
        ),
        sa.ForeignKeyConstraint(
            ["letter_id"], ["letters.id"], name=op.f("fk_approved_letters_letter_id_letters")
        ),
        sa.PrimaryKeyConstraint("approval_id", "letter_id", name=op.f("pk_approved_letters")),
    )
    op.create_index(
        "ix_approved_letters_letter_id", "approved_letters", ["letter_id"], unique=False
    )
    # Which letters an approval was of is known; what each of them was then is not, so that what is
    # still to be sent of them has to be approved anew.
    op.execute(
        "INSERT INTO approved_letters (approval_id, letter_id, digest, parts)"
        " SELECT approvals.id, letters.id, '', '{}' FROM approvals"
        " JOIN letters ON letters.run_id = approvals.run_id"
        " WHERE letters.prepared_at <= approvals.approved_at"
    )
