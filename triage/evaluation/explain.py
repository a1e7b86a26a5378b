"""Why a package reads a series, or does not: the rule that decided, image by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

from streams.errors import Reason
from triage.decoding.frames import Decoded, Frame
from triage.decoding.image_header import open_dataset
from triage.decoding.limits import Limits
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request
from triage.decoding.series import decide
from triage.eligibility.rule import Decision
from triage.errors import NotAnalysed
from triage.inference.opening import Opened, open_network
from triage.inputs.jailed import prepared
from triage.judging.bodies import Unlike, sizes_of, unlike_stacks
from triage.judging.coverage import why_incomplete
from triage.judging.flagging import Judgement, judge
from triage.packages.load import Package
from triage.packages.manifest import BodyRule

_IN_WORDS: dict[Unlike, str] = {
    "features": "what the network sees in it",
    "size": "the size of the body",
    "skull": "the skull that is not seen",
}


def explain(package: Package, series: Path) -> Iterator[str]:
    """What would become of `series`, a file or a folder of them, in lines: the verdict comes first.

    Raises OSError where there is nothing to read.
    """
    series.stat()
    files = series.iterdir() if series.is_dir() else [series]
    paths = sorted(filter(Path.is_file, files))
    if not paths:
        raise FileNotFoundError(f"{series}: no file is there; name the folder that holds the files")
    counts = Counter(line for path in paths for line in _decisions(package, path))
    with closing(DecoderPool(1)) as decoders:
        try:
            decoded = decoders.decode(Request(tuple(map(str, paths)), package.wanted))
            said = list(_verdict(package, decoded, len(paths)))
        except NotAnalysed as error:
            said = [f"{package.name}: not analysed ({error.reason.value})"]
    yield from said
    for line, count in counts.most_common():
        yield f"  {count} x {line}"


def _verdict(package: Package, decoded: Decoded, here: int) -> Iterator[str]:
    """What would be said of what was read, and how much that is."""
    read, rules = decoded.read, package.manifest
    numbers = sorted({frame.stack for frame in decoded.frames})
    stacks = [[frame for frame in decoded.frames if frame.stack == one] for one in numbers]
    abstains = rules.abstention is not None or rules.body is not None
    network = open_network(package, device="cpu") if abstains else None
    doubts = [_doubt(package, network, stack) if network else None for stack in stacks]
    short = why_incomplete(rules.coverage, read, here, None, rules.body)
    will_be = f"flagged or not analysed ({short.value})" if short else "flagged or not flagged"
    if told := [doubt.unlike for doubt in doubts if doubt and doubt.unlike]:
        because = f"{Reason.OUT_OF_DISTRIBUTION.value}, by {_IN_WORDS[told[0]]}"
        others = "flagged or " if len(told) < len(stacks) else ""  # each stack is judged by itself
        will_be = f"{others}not analysed ({because})"
    yield f"{package.name}: read, and will be {will_be}"
    extent = "" if read.extent_mm is None else f", {read.extent_mm:.0f} mm"
    gap = "" if read.largest_gap_mm is None else f", largest gap {read.largest_gap_mm:g} mm"
    usual = f" where {read.spacing_mm:g} mm is usual" if gap and read.spacing_mm else ""
    yield f"  {read.read} of {read.there} images read{extent}{gap}{usual}"
    for at, (stack, doubt) in enumerate(zip(stacks, doubts, strict=True), 1):
        which = f"stack {at} of {len(stacks)}: " if len(stacks) > 1 else ""
        for line in (*_guard(doubt), *_body(rules.body, stack)):
            yield f"  {which}{line}"


def _doubt(package: Package, network: Opened, stack: Sequence[Frame]) -> Judgement:
    unlike = unlike_stacks(package.manifest.body, stack).get(stack[0].stack)
    images = prepared(stack, package.input.model_dump(mode="json"))
    return judge(package, network.scores(images), unlike)


def _guard(found: Judgement | None) -> Iterator[str]:
    if found and found.doubt:
        foreign = f"{found.doubt.foreign:.2f}"
        yield f"unlike the images that it learned from with a probability of {foreign}"


def _body(rule: BodyRule | None, stack: Sequence[Frame]) -> Iterator[str]:
    """What was measured of the body, and what is asked of it."""
    if rule is None:
        return
    if rule.size_mm is not None and (sizes := sizes_of(stack)):
        low, high = rule.size_mm
        usual = f"{median(sizes):.0f} mm"
        yield f"the body is {usual} along its longer side ({low:g} to {high:g} mm are asked for)"
    if rule.skull_mm and (seen := [frame.skull for frame in stack if frame.skull is not None]):
        asked = f"{rule.skull_mm:g} mm of a stack"
        yield f"a skull is seen in {sum(seen)} of {len(seen)} images ({asked} are asked for)"


def _decisions(package: Package, path: Path) -> Iterator[str]:
    """What the package's rule says of each frame of a file that has types of its own, else once."""
    try:
        dataset = open_dataset(path, Limits()).dataset
    except NotAnalysed as error:
        yield f"unreadable ({error.reason.value})"
        return
    yield from map(_in_words, decide(package.rule, dataset))


def _in_words(decision: Decision) -> str:
    because = f"{decision.rule}: {decision.because}" if decision.because else decision.rule
    if decision.reason is not None:
        return f"left out, {decision.reason.value} ({because})"
    return f"{'eligible' if decision.primary else 'can only be flagged'} ({because})"
