"""What gateways say of senders, and where the parked lie, is kept."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SENDERS = """
CREATE TABLE sender_door (
    sender varchar,
    door varchar,
    known_since timestamptz NOT NULL,
    last_at timestamptz,
    answers jsonb NOT NULL,
    refusals jsonb NOT NULL,
    not_imaging jsonb NOT NULL,
    recent jsonb NOT NULL,
    silent_after_s integer,
    PRIMARY KEY (sender, door)
);
CREATE TABLE sender_word (
    gateway varchar,
    sender varchar,
    door varchar,
    since timestamptz,
    at timestamptz NOT NULL,
    answers jsonb NOT NULL,
    refusals jsonb NOT NULL,
    not_imaging jsonb NOT NULL,
    PRIMARY KEY (gateway, sender, door)
);
CREATE TABLE sender_hour (
    sender varchar,
    door varchar,
    hour timestamptz,
    longest_s integer NOT NULL,
    PRIMARY KEY (sender, door, hour)
);
CREATE TABLE parked_entry (
    partition integer,
    "offset" bigint,
    sender varchar NOT NULL,
    stage varchar NOT NULL,
    topic varchar NOT NULL,
    reason varchar NOT NULL,
    field varchar NOT NULL,
    attempts integer NOT NULL,
    parked_at timestamptz NOT NULL,
    PRIMARY KEY (partition, "offset")
);
CREATE INDEX parked_whose ON parked_entry (sender, topic, parked_at);
CREATE TABLE topic_read (
    topic varchar,
    partition integer,
    next bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SENDERS)
