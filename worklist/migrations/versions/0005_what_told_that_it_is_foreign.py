"""A row keeps what told that a series is foreign. A release that knows no such column writes on."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UNLIKE = """
ALTER TABLE item ADD COLUMN ai_unlike varchar NOT NULL DEFAULT '';
ALTER TABLE closed ADD COLUMN ai_unlike varchar NOT NULL DEFAULT '';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UNLIKE)
