"""The first schema: what `worklist.sql.models` declares, and the two chores that need its owner."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RECORD = """
CREATE TABLE fact (
    key varchar PRIMARY KEY,
    type varchar NOT NULL,
    nodes text[] NOT NULL,
    received timestamptz NOT NULL,
    body jsonb NOT NULL
);
CREATE INDEX fact_nodes ON fact USING gin (nodes) WITH (fastupdate = false);
CREATE INDEX fact_package ON fact ((body->>'package'), (body->>'package_version'))
    WHERE type = 'FindingsMade';
CREATE TABLE node (
    key text COLLATE "C" PRIMARY KEY,
    uses integer NOT NULL DEFAULT 0,
    named jsonb
);
CREATE INDEX node_named ON node (uses, key) WHERE named IS NOT NULL;
CREATE TABLE naming (
    node varchar,
    by varchar,
    PRIMARY KEY (node, by)
);
CREATE TABLE patient_number (
    value varchar,
    authority varchar,
    PRIMARY KEY (value, authority)
);
"""

LIST = """
CREATE TABLE item (
    uid varchar NOT NULL,
    accession varchar NOT NULL,
    accessions text[] NOT NULL,
    members text[] NOT NULL,
    nodes text[] NOT NULL,
    person varchar NOT NULL,
    patient_id varchar NOT NULL,
    patient_issuer varchar NOT NULL,
    patient_name varchar NOT NULL,
    birth_date varchar NOT NULL,
    sex varchar NOT NULL,
    other_numbers jsonb NOT NULL,
    modality varchar NOT NULL,
    body_part varchar NOT NULL,
    description varchar NOT NULL,
    subspecialty varchar NOT NULL,
    site varchar NOT NULL,
    location varchar NOT NULL,
    order_class varchar NOT NULL,
    borrowed text[] NOT NULL,
    state varchar NOT NULL,
    marks text[] NOT NULL,
    ai varchar NOT NULL,
    ai_reason varchar NOT NULL,
    cleared_by varchar NOT NULL,
    cleared_reason varchar NOT NULL,
    flags jsonb NOT NULL,
    results jsonb NOT NULL,
    looked_for text[] NOT NULL,
    abstained text[] NOT NULL,
    coverage jsonb NOT NULL,
    models jsonb NOT NULL,
    images_here integer NOT NULL,
    images_announced integer,
    fragments text[] NOT NULL,
    reports text[] NOT NULL,
    siblings text[] NOT NULL,
    lane integer NOT NULL,
    due_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    target_at timestamptz NOT NULL,
    why jsonb NOT NULL,
    clock timestamptz NOT NULL,
    scheduled_at timestamptz,
    last_image_at timestamptz,
    report_at timestamptz,
    policy_version varchar NOT NULL,
    pinned_by varchar NOT NULL,
    pinned_reason varchar NOT NULL,
    outcome varchar NOT NULL,
    finished_by varchar NOT NULL,
    finished_at timestamptz,
    finish_id varchar NOT NULL,
    reading_until timestamptz,
    reading_by varchar NOT NULL,
    changed bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    name text COLLATE "C" NOT NULL
);
CREATE TABLE closed (LIKE item INCLUDING DEFAULTS, closed_at timestamptz NOT NULL)
    PARTITION BY RANGE (closed_at);

ALTER TABLE item
    ADD PRIMARY KEY (name),
    ADD CONSTRAINT item_ai
        CHECK (ai IN ('flagged','withdrawn','not_flagged','not_analysed','pending')),
    ADD CONSTRAINT item_lane CHECK (lane BETWEEN 0 AND 3),
    ADD CONSTRAINT item_unreadable CHECK ((lane = 3) = (state IN ('expected','arriving'))),
    ADD CONSTRAINT item_open
        CHECK (state IN ('expected','arriving','readable','preliminary')),
    ADD CONSTRAINT item_unfinished CHECK (finished_at IS NULL);
CREATE INDEX item_queue ON item (lane, due_at, received_at, name);
CREATE INDEX item_next ON item (lane, due_at, received_at, name) WHERE state = 'readable';
CREATE INDEX item_pool ON item (site, subspecialty, lane, due_at, received_at, name);
CREATE INDEX item_clock ON item (lane, clock);
CREATE INDEX item_target ON item (lane, target_at);
CREATE INDEX item_uid ON item (uid);
CREATE INDEX item_person ON item (person);
CREATE INDEX item_accessions ON item USING gin (accessions);
CREATE INDEX item_policy ON item (policy_version, name);
CREATE INDEX item_changed ON item (changed, name);
CREATE INDEX item_pending ON item (last_image_at) WHERE ai = 'pending';
CREATE INDEX item_stuck ON item (name) WHERE 'stuck' = ANY (marks);

ALTER TABLE closed
    ADD PRIMARY KEY (name, closed_at),
    ADD CONSTRAINT closed_state CHECK (state IN ('read','final','cancelled','historic')),
    ADD CONSTRAINT closed_ai
        CHECK (ai IN ('flagged','withdrawn','not_flagged','not_analysed','pending'));
CREATE INDEX closed_uid ON closed (uid);
CREATE INDEX closed_person ON closed (person);
CREATE INDEX closed_accessions ON closed USING gin (accessions);
CREATE INDEX closed_reading ON closed (state, lane, due_at, received_at, name);
CREATE TABLE closed_default PARTITION OF closed DEFAULT;

CREATE TABLE member (
    member varchar PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    closed_at timestamptz
);
CREATE INDEX ix_member_name ON member (name);
CREATE TABLE lease (
    name text COLLATE "C" PRIMARY KEY,
    reader varchar NOT NULL,
    token varchar NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    ended varchar NOT NULL,
    fragments text[] NOT NULL,
    reports text[] NOT NULL,
    changed bigint NOT NULL
);
CREATE INDEX ix_lease_reader ON lease (reader);
CREATE INDEX lease_changed ON lease (changed, name);
CREATE INDEX lease_due ON lease (expires_at) WHERE ended = '';
CREATE TABLE gone (
    changed bigint,
    name text COLLATE "C",
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (changed, name)
);
CREATE INDEX gone_at ON gone (at);
CREATE TABLE tally (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state varchar NOT NULL,
    lane integer NOT NULL,
    flagged boolean NOT NULL,
    rows bigint NOT NULL
);
"""

AROUND = """
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text)::bigint,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    act varchar NOT NULL,
    item varchar NOT NULL,
    actor varchar NOT NULL,
    reason varchar NOT NULL,
    detail jsonb NOT NULL
);
CREATE INDEX ix_audit_item ON audit (item);
CREATE INDEX audit_order ON audit (xid, id);
CREATE TABLE audit_seal (
    place bigint PRIMARY KEY,
    audit_id bigint NOT NULL UNIQUE,
    seal varchar NOT NULL
);
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text)::bigint,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    item varchar NOT NULL,
    kind varchar NOT NULL,
    body jsonb NOT NULL,
    sent_at timestamptz
);
CREATE INDEX outbox_unsent ON outbox (kind, id) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX outbox_old ON outbox (at) WHERE sent_at IS NULL AND kind <> 'act';
CREATE TABLE log_position (
    topic varchar,
    partition integer,
    "offset" bigint NOT NULL,
    topic_id varchar NOT NULL DEFAULT '',
    newest_received timestamptz,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lost bigint NOT NULL DEFAULT 0,
    gap_at timestamptz,
    PRIMARY KEY (topic, partition)
);
CREATE TABLE rebuild (
    at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    actor varchar NOT NULL,
    reason varchar NOT NULL
);
CREATE TABLE policy_version (
    version varchar PRIMARY KEY,
    body jsonb NOT NULL,
    activated_at timestamptz NOT NULL,
    actor varchar NOT NULL
);
"""

# Partitions belong to the tables' owner. These two run with its rights, so that no process that
# serves has to know its password. They wait for locks at most a second: the next round comes soon.
PARTITIONS = """
CREATE SCHEMA archive;

CREATE FUNCTION closed_month(moment timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '1s' AS $$
DECLARE
    start timestamptz := date_trunc('month', moment, 'UTC');
    finish timestamptz := (start AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
    part text := 'closed_' || to_char(start AT TIME ZONE 'UTC', 'YYYY_MM');
BEGIN
    IF to_regclass(part) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE closed INCLUDING ALL)', part);
    -- rows that were closed while the chores stood still
    EXECUTE format('WITH late AS (DELETE FROM closed_default WHERE closed_at >= %L AND closed_at < %L
        RETURNING *) INSERT INTO %I SELECT * FROM late', start, finish, part);
    EXECUTE format('ALTER TABLE closed ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        part, start, finish);
    RETURN true;
END $$;

CREATE FUNCTION closed_retire(before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '1s' AS $$
DECLARE
    part text;
BEGIN
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'closed'::regclass AND c.relname ~ '^closed_[0-9]{4}_[0-9]{2}$'
        AND (to_date(substr(c.relname, 8), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC'
            <= before
        ORDER BY 1
    LOOP
        EXECUTE format('ALTER TABLE closed DETACH PARTITION %I', part);
        EXECUTE format('INSERT INTO tally (state, lane, flagged, rows)
            SELECT state, lane, ai = ''flagged'', -count(*) FROM %I GROUP BY 1, 2, 3', part);
        EXECUTE format('ALTER TABLE %I SET SCHEMA archive', part);
        RETURN NEXT part;
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION closed_month, closed_retire FROM PUBLIC;
"""


def upgrade() -> None:
    for part in (RECORD, LIST, AROUND, PARTITIONS):
        # percent signs of format() are not placeholders
        op.get_bind().exec_driver_sql(part.replace("%", "%%"))
