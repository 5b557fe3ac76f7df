"""The first delivery that is due is found by an index alone, however many are due.

On PostgreSQL every claim sorted all that were: the cost of a claim grew with the letters that
waited.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_deliveries_due", table_name="deliveries")
    op.create_index("ix_deliveries_due", "deliveries", ["mode", "state", "due_at", "id"])
