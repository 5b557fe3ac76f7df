"""What was forgotten of people says so itself, and is not taken to be missing."""

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
