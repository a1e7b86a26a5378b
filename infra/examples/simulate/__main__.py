"""``python -m infra.examples.simulate``: runs the three examples and writes their figures into
``infra/docs/simulate.md``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worklist.order.policy import load
from worklist.simulate import twin
from worklist.simulate.report import Words, save_chart
from worklist.simulate.scenario_file import read_policy, read_scenario

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"


def table(result: Mapping[str, Any]) -> str:
    """Mean waits with intervals and the difference to the baseline, as Markdown."""
    words = Words("en")
    names = list(result["policies"])
    heads = ["minutes", *(words.policy(name) for name in names)]
    lines = [f"| {' | '.join(heads)} |", f"|{'--|' * len(heads)}"]
    for number, group in enumerate(result["policies"][names[0]]["groups"]):
        row = [words.group(group)]
        for name in names:
            found = result["policies"][name]["groups"][number]
            mean = found["wait"]["mean"]
            cell = f"{words.number(mean['value'])} ± {words.number(mean['half_width'])}"
            if "saved" in found:
                cell += f" ({words.difference(found['saved']).text})"
            row.append(cell)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def figures(example: Path) -> str:
    """One example: what it is, its table and its chart."""
    scenario = read_scenario(example)
    policy = read_policy(scenario, example, lambda: load(HERE.parents[1] / "site"))
    result = twin.simulate(scenario, policy, lambda done, of: None)
    chart = DOCS / "simulate" / f"{example.stem}.svg"
    chart.parent.mkdir(exist_ok=True)
    save_chart(result, "en", chart)
    return (
        f"### {scenario.name}\n\n"
        f"`infra/examples/simulate/{example.name}`: {result['studies']:,} studies, load "
        f"{result['load']:.2f}, seed {scenario.seed}.\n\n{table(result)}\n\n"
        f"![{scenario.name}: minutes sooner and later](simulate/{chart.name})\n"
    )


def main() -> None:
    """All three, between the marks in the page."""
    page = DOCS / "simulate.md"
    parts = []
    for example in sorted(HERE.glob("*-*.toml")):
        sys.stderr.write(f"{example.stem}\n")
        parts.append(figures(example))
    begin, end = "<!-- figures: begin -->", "<!-- figures: end -->"
    between = "\n".join([begin, *parts, end])
    text = re.sub(f"(?s){begin}.*{end}", lambda _: between, page.read_text())
    page.write_text(text)


if __name__ == "__main__":
    main()
