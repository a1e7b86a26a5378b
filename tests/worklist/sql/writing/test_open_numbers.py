"""Patient numbers whose authority nobody stated are told by what arrives later, and elsewhere."""

from __future__ import annotations

from sqlalchemy import Engine, text

from tests.worklist.record import say
from tests.worklist.sql.hospital import Hospital


def shown(engine: Engine, uid: str) -> tuple[str, str]:
    """Number and name of a study's patient."""
    with engine.connect() as connection:
        row = connection.execute(
            text("SELECT patient_id, patient_name FROM item WHERE uid = :uid"), {"uid": uid}
        ).one()
    return row[0], row[1]


def test_identity_messages_reach_an_open_image_until_another_hospital_has_the_number(
    engine: Engine,
) -> None:
    here = Hospital(engine)
    here.tell(say.image("u1.1 a7", "P1/19500101/OLD^NAME"))
    here.tell(say.adt("A08", "P1@H/19500101/NEW^NAME"))
    assert shown(engine, "1.1") == ("P1", "NEW^NAME")
    here.tell(say.merge("P1@H", "P2@H/19500101/NEW^NAME", received=30))
    assert shown(engine, "1.1") == ("P2", "NEW^NAME")
    here.tell(say.image("u1.9 a9", "P1@B/19800101/OTHER^X", received=31))
    assert shown(engine, "1.1") == ("P1", "OLD^NAME")


def test_a_merge_is_found_by_an_open_image_that_comes_later(engine: Engine) -> None:
    here = Hospital(engine)
    here.tell(say.merge("P1@H", "P2@H/19500101/NEW^NAME", received=2))
    here.tell(say.image("u1.1 a7", "P1/19500101/OLD^NAME"))
    assert shown(engine, "1.1") == ("P2", "NEW^NAME")


def lanes(engine: Engine, uids: str) -> list[int]:
    """The lanes of the studies whose UIDs begin so."""
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT lane FROM item WHERE uid LIKE :uids"), {"uids": uids + "%"}
        )
        return list(rows.scalars())


def test_thirteen_open_studies_under_a_stated_order_keep_its_urgency(engine: Engine) -> None:
    here = Hospital(engine)
    here.tell(say.order("a7 f1", "P1@H", "stat"))
    here.tell(*(say.image(f"u1.{n} a7", "P1", received=10 + n) for n in range(13)))
    assert lanes(engine, "1.") == [1] * 13


def test_open_images_of_fourteen_others_lower_no_row_that_has_its_order(engine: Engine) -> None:
    here = Hospital(engine)
    here.tell(say.order("a7 f1", "P1@H", "stat"), say.image("u1.1 a7", "P1"))
    here.tell(*(say.image(f"u2.{n} a7", f"Q{n}", received=20 + n) for n in range(14)))
    assert lanes(engine, "1.") == [1]
    here.tell(say.report("a7 f1", "P1@H", received=50))
    assert lanes(engine, "1.") == [], "the report closes it"


def test_a_priority_that_a_lead_gave_an_order_reaches_its_thirteen_studies(engine: Engine) -> None:
    here = Hospital(engine)
    placed = say.order("a7 f1", "P1@H", "routine")
    here.tell(placed)
    with engine.connect() as connection:
        name = connection.scalar(text("SELECT name FROM item"))
    raised = say.act("set_priority", str(name), when=5, said="a7 f1", code="stat")
    here.tell(raised)
    here.tell(*(say.image(f"u1.{n} a7", "P1", received=10 + n) for n in range(13)))
    assert lanes(engine, "1.") == [1] * 13
