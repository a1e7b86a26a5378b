"""What pages ask of closed rows, and who works with the list: sessions and accounts."""

import unicodedata

from alembic import op
from sqlalchemy import text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CLOSED = """
ALTER TABLE item ADD COLUMN indication varchar NOT NULL DEFAULT '';
ALTER TABLE item ADD COLUMN referring varchar NOT NULL DEFAULT '';
ALTER TABLE item ALTER COLUMN indication DROP DEFAULT, ALTER COLUMN referring DROP DEFAULT;
ALTER TABLE closed ADD COLUMN indication varchar NOT NULL DEFAULT '';
ALTER TABLE closed ADD COLUMN referring varchar NOT NULL DEFAULT '';
ALTER TABLE closed ALTER COLUMN indication DROP DEFAULT, ALTER COLUMN referring DROP DEFAULT;
ALTER TABLE item ADD COLUMN words text[] NOT NULL DEFAULT '{}';
ALTER TABLE item ALTER COLUMN words DROP DEFAULT;
ALTER TABLE closed ADD COLUMN words text[] NOT NULL DEFAULT '{}';
ALTER TABLE closed ALTER COLUMN words DROP DEFAULT;
CREATE INDEX closed_when ON closed (closed_at);
CREATE INDEX closed_reader ON closed (finished_by, closed_at) WHERE finished_by <> '';
"""

PEOPLE = """
ALTER TABLE lease ADD COLUMN asked_by varchar NOT NULL DEFAULT '';
ALTER TABLE lease ADD COLUMN asked_reason varchar NOT NULL DEFAULT '';
CREATE TABLE session (
    id varchar PRIMARY KEY,
    person varchar NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    words varchar NOT NULL
);
CREATE INDEX ix_session_person ON session (person);
CREATE TABLE account (
    name varchar PRIMARY KEY,
    role varchar NOT NULL,
    sha256 varchar NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    disabled_at timestamptz
);
CREATE TABLE skipping (
    name text COLLATE "C",
    reader varchar,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, reader)
);
CREATE INDEX ix_skipping_reader ON skipping (reader);
"""


WORDS = """
CREATE INDEX item_words ON item USING gin (array_to_tsvector(words));
CREATE INDEX closed_words ON closed USING gin (array_to_tsvector(words));
"""
_TEXTS = ("patient_name", "patient_id", "description", "body_part", "modality")
_FACETS = ("state", "ai", "modality", "location", "order_class")
_CHUNK = 2000


def upgrade() -> None:
    for part in (CLOSED, PEOPLE):
        op.get_bind().exec_driver_sql(part.replace("%", "%%"))
    for table, key in (("item", "name"), ("closed", "name, closed_at")):
        _fill(table, key)
    op.get_bind().exec_driver_sql(WORDS)


def _fill(table: str, key: str) -> None:
    """Words of the rows that were there before; a row that changes gets them anew."""
    columns = ", ".join(dict.fromkeys((*_TEXTS, *_FACETS, "uid", "accessions", "clock")))
    read = text(f"SELECT {key}, {columns} FROM {table} ORDER BY {key}")  # noqa: S608
    same = " AND ".join(f"{name} = :{name}" for name in key.split(", "))
    write = text(f"UPDATE {table} SET words = :words WHERE {same}")  # noqa: S608
    chunk = []
    for row in op.get_bind().execute(read, execution_options={"yield_per": _CHUNK}):
        named = {name: getattr(row, name) for name in key.split(", ")}
        chunk.append(named | {"words": _words(row)})
        if len(chunk) == _CHUNK:
            op.get_bind().execute(write, chunk)
            chunk = []
    if chunk:
        op.get_bind().execute(write, chunk)


def _words(row: object) -> list[str]:
    found = {word for name in _TEXTS for word in _fold(getattr(row, name))}
    found |= {word for accession in row.accessions for word in _fold(accession)}  # type: ignore[attr-defined]
    found |= {row.uid} - {""}  # type: ignore[attr-defined]
    names = {"order_class": "class"}
    told = {name: getattr(row, name) for name in _FACETS}
    found |= {
        f"{names.get(name, name)}:{value}".casefold() for name, value in told.items() if value
    }
    return sorted(found | {row.clock.strftime("%Y%m%d")})  # type: ignore[attr-defined]


def _fold(said: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", said).casefold().replace("\u00df", "ss")
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    return [word[:64] for word in "".join(c if c.isalnum() else " " for c in letters).split()]
