"""When a row splits, what persons did to its images stays with the images."""

from __future__ import annotations

from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make
from tests.worklist.sql.acting import Act, refused, take
from worklist.sql.queue import listing


def rows(engine: Engine) -> dict[str, dict[str, object]]:
    """The open rows by study UID."""
    with engine.connect() as connection:
        return {row["study_uid"]: row for row in listing(connection).items}


def test_another_patients_order_takes_neither_pin_nor_lease_from_the_images(
    engine: Engine, make: Make, feed: Feed, act: Act
) -> None:
    feed(make.order("A1", at=0), make.series(accession="A1", patient=None, at=5))
    (row,) = rows(engine).values()
    claim = take(engine, str(row["study"]))
    act("pin", str(row["study"]), actor="anna", reason="worse")
    feed(make.order("A1", also="f9", patient="P2/19700101/OTHER", at=9))
    images = rows(engine)["1.2.1"]
    assert images["study"] != row["study"]
    assert (images["lane"], images["claimed_by"], images["pinned_by"]) == (0, "anna", "anna")
    old = str(row["study"])
    assert refused(lambda: act("finish", old, actor="anna", token=claim.token))[0] == "wrong_token"
    act("finish", str(images["study"]), actor="anna", token=claim.token)
    assert "1.2.1" not in rows(engine)
    with engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM item WHERE uid = ''")).scalar()
    assert left == 2
