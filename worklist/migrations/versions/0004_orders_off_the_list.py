"""Orders that a rule keeps off the list are found: the workbench shows them."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

FOUND = """
CREATE INDEX fact_not_imaging ON fact (received DESC, key)
    WHERE type = 'OrderChanged' AND body->>'imaging' = 'false';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(FOUND)
