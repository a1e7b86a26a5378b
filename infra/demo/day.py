"""Writes the day: a pure, seeded list of timed acts with all that goes wrong in a department."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

from infra.demo.case import (
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    JPEG_LS,
    ORDERS,
    RLE,
    Act,
    Case,
    Day,
    Kind,
    Patient,
    Situation,
    Step,
    Story,
)
from infra.demo.odd.stories import STORIES

STUDIES_PER_HOUR = 24.0  # of a busy department
BLEEDS = ("epidural", "subdural", "intraparenchymal", "intraventricular", "subarachnoid")
SYNTAXES = (EXPLICIT, IMPLICIT, RLE, JPEG_2000, JPEG_LS)
READ_S: dict[Kind, float] = {
    "head_ct": 600,
    "chest": 180,
    "knee": 180,
    "abdomen": 240,
    "picture": 300,
}
_FAMILIES = (
    "Abadie",
    "Brun",
    "Côté",
    "Dufour",
    "Etcheverry",
    "Fabre",
    "Gagnon",
    "Haddad",
    "Ibarra",
    "Jacquet",
    "Lefèvre",
    "Ndiaye",
)
_GIVEN = ("Alex", "Camille", "Dominique", "Eden", "Lou", "Maxime", "Noa", "Sacha")

#: The first studies of every day, so that a short one has everything too: kind, finding, priority,
#: location, what happens.
_SCRIPT: tuple[tuple[Kind, str, str, str, tuple[Act, ...]], ...] = (
    ("head_ct", "intraparenchymal", "R", "E", ("order", "images")),
    ("chest", "opacity", "R", "I", ("order", "images", "preliminary")),
    ("knee", "", "", "O", ("order", "images")),
    ("chest", "", "R", "O", ("images", "order")),
    ("head_ct", "", "S", "E", ("order", "images", "late_images")),
    ("abdomen", "", "R", "O", ("booking",)),
    ("chest", "", "R", "O", ("order", "cancel")),
    ("knee", "", "A", "I", ("order", "images", "cancel")),
    ("chest", "opacity", "R", "O", ("order", "order_again", "images", "images_again")),
    ("head_ct", "subdural", "", "", ("images",)),
    ("abdomen", "", "R", "I", ("order", "images", "preliminary", "final")),
    ("chest", "", "A", "I", ("order", "images", "merge")),
    ("knee", "", "R", "O", ("order", "broken_file", "bad_message", "poison")),
    ("head_ct", "", "R", "O", ("order", "images", "final")),
    ("chest", "adult", "R", "O", ("order", "images")),
    ("head_ct", "epidural", "R", "I", ("images", "order")),
    ("chest", "", "R", "O", ("ehr_order", "images")),
    ("knee", "", "R", "O", ("order", "images", "final", "late_images")),
)
#: Then images that are not what they seem, each with its truth, and how they come.
_SITUATIONS: tuple[tuple[Situation, Kind, str, tuple[Act, ...]], ...] = (
    ("prone", "head_ct", "intraparenchymal", ("order", "images")),
    ("hole", "head_ct", "", ("order", "images")),
    ("french", "head_ct", "", ("order", "images")),
    ("dose_page", "head_ct", "", ("order", "images")),
    ("film", "head_ct", "", ("order", "images")),
    ("prior", "chest", "", ("images",)),
    ("pet_ct", "abdomen", "", ("order", "images")),
    ("tomosynthesis", "abdomen", "", ("order", "images")),
    ("damaged", "knee", "", ("order", "damaged_images")),
    ("icon", "chest", "opacity", ("order", "images")),
)
_ODD = len(_SCRIPT) + len(_SITUATIONS)
MINIMUM = _ODD + len(STORIES)


def write_day(seed: int, seconds: float, per_hour: float = STUDIES_PER_HOUR) -> Day:
    """The day of `seed`, `seconds` simulated seconds long; all of `_SCRIPT` at least."""
    rng = random.Random(seed)  # noqa: S311 — a scenario, no secret
    count = max(MINIMUM, round(per_hour * seconds / 3600))
    cases: list[Case] = []
    steps: list[Step] = []
    for number in range(count):
        situation: Situation = ""
        story: Story = ""
        if number < len(_SCRIPT):
            kind, finding, priority, location, acts = _SCRIPT[number]
        elif number < _ODD:
            situation, kind, finding, acts = _SITUATIONS[number - len(_SCRIPT)]
            priority, location = "R", "I"
        elif number < MINIMUM:
            story, finding = tuple(STORIES)[number - _ODD], ""
            kind, priority, location, acts = STORIES[story]
        else:
            kind, finding, priority, location, acts = _any(rng)
        case = _case(rng, seed, number, kind, finding, priority, location)
        cases.append(replace(case, situation=situation, story=story))
        # All acts of a study fall inside the day, so that the report can expect them.
        begin = seconds * 0.8 * (number + rng.random() * 0.5) / count
        steps += _play(rng, number, acts, begin, seconds * 0.2)
    cases = [
        replace(
            case,
            ordered=any(s.case == case.number and s.act in ORDERS for s in steps),
        )
        for case in cases
    ]
    return Day(tuple(cases), tuple(sorted(steps)))


def _play(
    rng: random.Random, case: int, acts: Sequence[Act], begin: float, room: float
) -> list[Step]:
    """`acts` in their order, spread over at most half an hour or `room`, whichever is shorter."""
    span = min(room, 1800.0)
    gaps = [rng.uniform(0.5, 1.0) for _ in acts]
    at, steps = begin, []
    for act, gap in zip(acts, gaps, strict=True):
        steps.append(Step(round(at, 3), act, case))
        at += span * gap / len(acts)
    return steps


def _any(rng: random.Random) -> tuple[Kind, str, str, str, tuple[Act, ...]]:
    kind: Kind = rng.choices(("head_ct", "chest", "knee", "abdomen"), (25, 45, 20, 10))[0]
    finding = ""
    if kind == "head_ct" and rng.random() < 0.15:
        finding = rng.choice(BLEEDS)
    if kind == "chest" and rng.random() < 0.2:
        finding = "opacity"
    priority = rng.choices(("R", "A", "S", ""), (70, 15, 5, 10))[0]
    location = rng.choices(("O", "I", "E"), (50, 30, 20))[0]
    story: tuple[Act, ...] = rng.choices(
        (
            ("order", "images"),
            ("images", "order"),
            ("order", "images", "final"),
            ("order", "cancel"),
            ("order", "order_again", "images"),
            ("order", "images", "late_images"),
            ("booking",),
            ("order", "images", "merge"),
        ),
        (70, 8, 6, 3, 4, 3, 3, 3),
    )[0]
    return kind, finding, priority, location, story


def _case(
    rng: random.Random,
    seed: int,
    number: int,
    kind: Kind,
    finding: str,
    priority: str,
    location: str,
) -> Case:
    adult = finding == "adult"
    # The packages are eligible for the ages that they learned on: one to five years, and to 72.
    oldest = 72 if kind == "head_ct" else 92
    years = rng.randint(1, 5) if kind == "chest" and not adult else rng.randint(19, oldest)
    patient = Patient(
        id=f"D{seed % 10_000:04d}{number:05d}",
        family=rng.choice(_FAMILIES),
        given=rng.choice(_GIVEN),
        birth_date=f"{2026 - years - 1}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}",
        sex=rng.choice("FM"),
    )
    return Case(
        number=number,
        accession=f"A{seed % 10_000:04d}{number:06d}",
        study_uid=f"2.25.{10**20 + (seed % 10**9) * 10**6 + number}",
        patient=patient,
        kind=kind,
        finding="" if adult else finding,
        priority=priority,
        location=location,
        syntax=SYNTAXES[number % len(SYNTAXES)],
        seed=rng.getrandbits(48),
        age=f"{years:03d}Y",
        read_s=READ_S[kind] * rng.uniform(0.6, 1.4),
    )


def with_pictures(day: Day, pictures: Sequence[Case]) -> Day:
    """`day` with the images of `pictures` in place of the phantoms, in turn; the acts stay."""
    cases = [
        replace(
            case,
            kind="picture",
            situation="",
            finding=picture.finding,
            picture=picture.picture,
            age=picture.age,
            seed=picture.seed,
            read_s=READ_S["picture"],
        )
        for case, picture in zip(day.cases, cycle(pictures), strict=False)
    ]
    return Day(tuple(cases), day.steps)
