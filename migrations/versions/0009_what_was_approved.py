"""An approval is of each letter as it stood, and tests are recorded apart."""

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
