"""Rows by words and facets: whose name, whatever its accents and order; and by an index alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from tests.worklist.conftest import Feed, Make
from worklist.sql.asking import search as searching
from worklist.sql.asking.search import Asked, fold, search, words_of
from worklist.sql.models import COLUMNS
from worklist.sql.queue import QueueError

Find = Callable[..., list[str]]


@pytest.fixture
def find(engine: Engine) -> Find:
    def by(words: str = "", **more: Any) -> list[str]:
        with engine.begin() as connection:
            found = search(connection, Asked(words, **more), 50)
        return [row["study_uid"] or row["accession"] for row in found.items]

    return by


@pytest.fixture
def hospital(make: Make, feed: Feed) -> None:
    zoe = "P1/19610204/LEFÈVRE-DUPONT^Zoé"
    feed(make.order("A-77", patient=zoe), make.series("1.2.3.4.1", patient=zoe, accession="A-77"))
    feed(make.finding("1.2.3.4.1"))
    anna = "P2/19700101/Ångström^Anna"
    film = make.series("1.2.3.4.2", patient=anna, modality="DX", description="Thorax face")
    feed(film)
    feed(
        make.order("B1", patient="P3/1/Müller^Jörg"), make.report("B1", patient="P3/1/Müller^Jörg")
    )
    feed(make.finding(of=film, flagged=False))
    feed(make.order("C1", patient="P4/19800505/O'Brien^Anne-Marie=李^小龙"))


@pytest.mark.usefixtures("hospital")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("lefevre", ["1.2.3.4.1"]),
        ("Zoé LEFÈVRE", ["1.2.3.4.1"]),
        ("dup zo", ["1.2.3.4.1"]),
        ("lefevre^zoe", ["1.2.3.4.1"]),
        ("angstrom", ["1.2.3.4.2"]),
        ("a-77", ["1.2.3.4.1"]),
        ("P2", ["1.2.3.4.2"]),
        ("1.2.3.4.2", ["1.2.3.4.2"]),
        ("thorax", ["1.2.3.4.2"]),
        ("2026-03-14 zoe", ["1.2.3.4.1"]),
        ("14/03/2026 anna", ["1.2.3.4.2"]),
        ("lefevre 1961-02-04", ["1.2.3.4.1"]),
        ("04/02/1961 zoe", ["1.2.3.4.1"]),
        ("angstrom 1961", []),
        ("obrien", ["C1"]),
        ("o'brien annemarie", ["C1"]),
        ("anne marie brien", ["C1"]),
        ("李小龙", ["C1"]),
        ("李", ["C1"]),
        ("lefevredupont", ["1.2.3.4.1"]),
        ("lefevre anna", []),
        ("x' OR 1=1 --", []),
        ("zoe & | ! :* <->", ["1.2.3.4.1"]),
        ("flagged", []),
    ],
)
def test_a_study_is_found_by_what_somebody_would_type(
    find: Find, words: str, found: list[str]
) -> None:
    assert find(words) == found


@pytest.mark.usefixtures("hospital")
def test_a_facet_is_exact_flagged_is_not_part_of_not_flagged(find: Find) -> None:
    assert find(ai="flagged") == ["1.2.3.4.1"]
    assert find(ai="not_flagged") == ["1.2.3.4.2"]
    assert find(modality="DX", state="readable") == ["1.2.3.4.2"]
    assert find(modality="CT", ai="not_flagged") == []


@pytest.mark.usefixtures("hospital")
def test_words_look_at_what_is_closed_too_and_the_open_list_comes_first(
    find: Find, engine: Engine
) -> None:
    with engine.connect() as connection:
        closed = connection.scalars(text("SELECT accession FROM closed")).all()
    assert closed == ["B1"]
    assert find("muller jorg") == ["B1"]
    assert find(state="final") == ["B1"]
    assert find(state="all")[-1] == "B1"
    assert find("muller", state="readable") == []


@pytest.mark.parametrize("words", ["a", "- -", "  é  "])
def test_what_would_match_nearly_everything_is_refused(find: Find, words: str) -> None:
    with pytest.raises(QueueError, match="too_broad"):
        find(words)


def test_an_unknown_state_or_sort_is_refused(find: Find) -> None:
    for more in ({"state": "nice"}, {"sort": "; DROP"}):
        with pytest.raises(QueueError, match="bad_state"):
            find(**more)


def test_pages_of_a_search_are_what_was_found(make: Make, feed: Feed, engine: Engine) -> None:
    feed(*(make.series(f"1.1.1.1.{n}", patient=f"P{n}/19700103/ROE^Jo", at=n) for n in range(7)))
    seen: list[str] = []
    with engine.begin() as connection:
        for page in range(3):
            found = search(connection, Asked("roe", page=page), 3)
            seen += [row["study_uid"] for row in found.items]
            assert found.more is (page < 2)
    assert seen == [f"1.1.1.1.{n}" for n in range(7)]


@given(st.text(max_size=40), st.permutations(["Lefèvre", "Zoé", "Anne"]))
def test_a_rows_own_words_find_it_in_any_order_and_case(noise: str, parts: list[str]) -> None:
    at = datetime(2026, 3, 14, tzinfo=UTC)
    held = words_of(["LEFEVRE^Anne^Zoe", noise], at, [])
    asked = [word for part in parts for word in fold(part.upper())]
    assert set(asked) <= set(held)
    assert all(word and len(word) <= 64 and "\0" not in word for word in fold(noise))


ASKED = {
    "one": Asked("n777777"),
    "nothing": Asked("zzz"),
    "what begins so": Asked("n77777"),
    "a name": Asked("p123 ct"),
    "a state": Asked(state="final"),
    "a name in a state": Asked("p77", state="final"),
    "newest": Asked(state="final", sort="newest"),
    "what nearly all have": Asked("ct"),
}
#: What a copy leaves empty, so that a million fit.
LONG = ("members", "nodes", "fragments", "reports", "siblings", "results", "models", "why")


@pytest.mark.slow
def test_among_a_million_closed_rows_a_search_reads_what_an_index_gives(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series("1.1.1.1.1", accession="A1"), make.report())
    with grown(engine, 1_000_000) as pages:
        for what, wanted in ASKED.items():
            with engine.begin() as connection:
                for plan in explained(connection, wanted):
                    assert touched(plan) < pages / 8, (what, plan)


@contextmanager
def grown(engine: Engine, count: int) -> Iterator[int]:
    """Copies of the closed row: a name each five thousandth, one exam, one state; with the indexes
    that a search asks alone, since the others take a minute. How many pages there are.
    """
    varied = {
        "name": "md5(n::text)",
        "closed_at": "clock_timestamp() - n * interval '10 seconds'",
        "words": "ARRAY['n' || n, 'ct', 'state:final', 'p' || n % 5000]",
    }
    varied |= dict.fromkeys(LONG, "'{}'")
    copied = [name for name in COLUMNS if name not in varied]
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        kept = connection.execute(
            text("""SELECT indexname AS name, replace(indexdef, ' ON ONLY ', ' ON ') AS definition
                    FROM pg_indexes
                    WHERE tablename = 'closed' AND indexname NOT LIKE '%_pkey'""")
        ).all()
        for index in kept:
            connection.execute(text(f"DROP INDEX {index.name}"))
        connection.execute(
            text(f"""INSERT INTO closed ({", ".join([*varied, *copied])})
                     SELECT {", ".join([*varied.values(), *copied])} FROM
                     (SELECT * FROM closed LIMIT 1) one, generate_series(1, :count) n"""),
            {"count": count},
        )
        for index in kept:
            if index.name in ("closed_words", "closed_when"):
                connection.execute(text(index.definition))
        connection.execute(text("ANALYZE closed"))
        size = "SELECT sum(relpages) FROM pg_class WHERE relname LIKE 'closed%' AND relkind = 'r'"
        pages = int(connection.scalar(text(size)) or 0)
    try:
        yield pages
    finally:
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE closed"))
            for index in kept:
                if index.name not in ("closed_words", "closed_when"):
                    connection.execute(text(index.definition))


def explained(connection: Connection, asked: Asked) -> list[Any]:
    """The plans of a search's statements, each run."""
    said: list[tuple[str, Any]] = []

    class Recorder:
        def execute(self, statement: Any, values: Any = None) -> Any:
            said.append((str(statement), values))
            return connection.execute(statement, values)

    search(Recorder(), asked, 50)  # type: ignore[arg-type]
    explain = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)"
    asked_of = [(sql, values) for sql, values in said if not sql.startswith("SET")]
    return [
        connection.execute(text(f"{explain} {sql}"), values).scalar_one()[0]["Plan"]
        for sql, values in asked_of
    ]


def touched(plan: dict[str, Any]) -> int:
    """Pages, in memory or not."""
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_the_facets_are_those_that_rows_are_given() -> None:
    values = dict.fromkeys(searching.FACETS.values(), "X")
    told = Asked(state="X", ai="X", modality="X", location="X", order_class="X")
    at = datetime(2026, 3, 14, tzinfo=UTC)
    assert set(told.facets) <= set(words_of([], at, searching.facets_of(values)))
