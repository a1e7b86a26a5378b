"""A result for people: text for a terminal, charts, a page that a department head understands."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

Language = Literal["en", "fr"]
Result = Mapping[str, Any]
_COLOURS = ("#7a8699", "#1f5fa8", "#d98a1f", "#3b8f5c", "#8a4fa3", "#b3475a", "#4a4a4a")


class Cell(NamedTuple):
    """A cell of a table: its text, a smaller note, and which way it points."""

    text: str
    note: str = ""
    kind: str = ""


class Words:
    """The texts of one language, and its way to write numbers."""

    def __init__(self, language: Language) -> None:
        folder = resources.files("worklist.simulate") / "texts"
        self.language = language
        self.text: dict[str, Any] = json.loads((folder / f"{language}.json").read_text("utf-8"))

    def number(self, value: float | None, places: int | None = None) -> str:
        """`value` with as many places as it deserves."""
        if value is None:
            return "–"
        if places is None:
            places = 0 if abs(value) >= 100 else 1 if abs(value) >= 1 else 2
        text = f"{value:,.{places}f}"
        if self.language == "fr":
            text = text.replace(",", "\u202f").replace(".", ",")
        return text

    def percent(self, value: float | None) -> str:
        """A share."""
        if value is None:
            return "–"
        return self.number(100 * value, 0 if value >= 0.1 or not value else 1) + (
            "\u202f%" if self.language == "fr" else " %"
        )

    def policy(self, name: str) -> str:
        """A policy's name."""
        return str(self.text["policies"].get(name, name))

    def group(self, row: Result) -> str:
        """A group's name."""
        by, name = row["by"], row["name"]
        if by == "call":
            return str(self.text["calls"][name])
        key = "no_disease" if by == "disease" and not name else by
        return str(self.text["by"][key]).format(name=name)

    def say(self, key: str, **values: Any) -> str:
        """A sentence."""
        return str(self.text[key]).format(**values)

    def difference(self, saved: Mapping[str, float | None]) -> Cell:
        """Minutes sooner or later, in words; a difference inside its own interval is none."""
        value, half = saved["value"], saved["half_width"]
        if value is None:
            return Cell("–")
        note = f"± {self.number(half)}" if half is not None else ""
        if half is not None and abs(value) <= half:
            return Cell(self.text["no_difference"], f"{self.number(value)} {note}")
        kind = "sooner" if value > 0 else "later"
        return Cell(self.say(f"minutes_{kind}", minutes=self.number(abs(value))), note, kind)


# ---- the terminal


def as_text(result: Result) -> str:
    """Mean wait of each group under each policy, with the difference to the baseline."""
    words = Words("en")
    policies = list(result["policies"])
    rows = [["", *(words.policy(name) for name in policies)]]
    base = result["policies"][policies[0]]["groups"]
    for number, group in enumerate(base):
        row = [f"{words.group(group)} ({group['studies']})"]
        for name in policies:
            found = result["policies"][name]["groups"][number]
            mean = found["wait"]["mean"]
            cell = f"{words.number(mean['value'])} ± {words.number(mean['half_width'])}"
            if "saved" in found:
                cell += f" ({words.difference(found['saved']).text})"
            row.append(cell)
        rows.append(row)
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    lines.insert(0, f"{result['name']}: mean wait in minutes, with 95 % intervals")
    for name in policies[1:]:
        if needed := _needed(words, result, name):
            lines.append(f"{words.policy(name)}: {needed}")
    lines += _warnings(words, result, policies[1]) if policies[1:] else []
    return "\n".join(lines) + "\n"


def _needed(words: Words, result: Result, policy: str) -> str:
    """The number needed to triage in words; nothing for a policy without AI."""
    found = result["policies"][policy].get("needed_to_triage")
    if found is None:
        return ""
    minutes = words.number(result["worthwhile_minutes"], 0)
    if found["high"] is None:
        return words.say("needed_none", minutes=minutes)
    number = {key: words.number(found[key]) for key in ("value", "low", "high")}
    return words.say("needed", **number, minutes=minutes)


# ---- charts


def charts(result: Result, language: Language) -> list[Any]:
    """Two matplotlib figures: mean waits, and minutes saved and lost. Raises ImportError without
    matplotlib.
    """
    words = Words(language)
    policies = list(result["policies"])
    groups = [g for g in result["policies"][policies[0]]["groups"] if g["by"] != "order"]
    numbers = [result["policies"][policies[0]]["groups"].index(g) for g in groups]
    names = [words.group(g) for g in groups]

    def bars(name: str, key: Sequence[str]) -> list[tuple[float, float]]:
        found = []
        for number in numbers:
            figure: Any = result["policies"][name]["groups"][number]
            for part in key:
                figure = figure[part]
            found.append((figure["value"] or 0.0, figure["half_width"] or 0.0))
        return found

    waits = _bars(
        names,
        {words.policy(name): bars(name, ("wait", "mean")) for name in policies},
        words.text["wait_chart"],
        _COLOURS,
    )
    saved = _bars(
        names,
        {words.policy(name): bars(name, ("saved",)) for name in policies[1:]},
        words.say("saved_chart", baseline=words.policy(policies[0])),
        _COLOURS[1:],
    )
    return [waits, saved]


def _bars(
    names: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    colours: Sequence[str],
) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.8 + 0.26 * len(names) * max(1, len(series))))
    axes = figure.subplots()
    thick = 0.8 / max(1, len(series))
    for number, (label, values) in enumerate(series.items()):
        axes.barh(
            [row + number * thick for row in range(len(names))],
            [value for value, _ in values],
            thick,
            xerr=[half for _, half in values],
            color=colours[number % len(colours)],
            label=label,
            error_kw={"ecolor": "#1c2430", "elinewidth": 1},
        )
    axes.set_yticks([row + 0.4 - thick / 2 for row in range(len(names))], names)
    axes.invert_yaxis()
    axes.axvline(0, color="#1c2430", linewidth=0.8)
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dde2ea", linewidth=0.8)
    axes.set_axisbelow(True)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    return figure


def save_chart(result: Result, language: Language, path: Path) -> None:
    """The chart of minutes saved and lost; the file's ending says PNG or SVG."""
    figure = charts(result, language)[1]
    if path.suffix == ".svg":
        path.write_text(_svg(figure), encoding="utf-8")
    else:
        figure.savefig(path, dpi=150)


def _svg(figure: Any) -> str:
    """The same figure gives the same text; letters stay letters."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vigie"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return "\n".join(line.rstrip() for line in text[text.index("<svg") :].splitlines()) + "\n"


# ---- the page


def as_page(result: Result, language: Language) -> str:
    """A page of its own: no network, one file."""
    import jinja2
    from markupsafe import Markup

    words = Words(language)
    policies = list(result["policies"])
    main = policies[1] if len(policies) > 1 else policies[0]
    template = (resources.files("worklist.simulate") / "texts" / "report.html").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    label = {"policy": words.policy(main), "baseline": words.policy(result["baseline"])}
    return environment.from_string(template).render(
        language=language,
        text=words.text,
        result=result,
        of=words.say("of", name=result["name"]),
        setting=_setting(words, result),
        compared=words.say("compared", **label),
        headlines=_headlines(words, result, main),
        warnings=_warnings(words, result, main),
        moved=_moved(words, result, main),
        needed=_needed(words, result, main),
        charts=[Markup(_svg(figure)) for figure in charts(result, language)],  # noqa: S704
        tables=[_table(words, result, name) for name in policies],
        explain=_explain(words, result),
        made=words.say(
            "made",
            seed=result["seed"],
            policy=result["policy"],
            service=words.text["services"][result["service"]],
        ),
    )


def _moved(words: Words, result: Result, policy: str) -> str:
    """Minutes of waiting that were taken from some and given to others, of 100 studies."""
    everybody = result["policies"][policy]["groups"][0]
    if "gained" not in everybody:
        return ""
    numbers = {k: words.number(100 * everybody[k]["value"], 0) for k in ("gained", "lost")}
    return words.say("moved", **numbers)


def _setting(words: Words, result: Result) -> str:
    studies = words.number(result["studies"], 0)
    if result.get("load") is None:
        return words.say("setting_history", studies=studies)
    return words.say("setting", studies=studies, load=words.percent(result["load"]))


def _explain(words: Words, result: Result) -> list[str]:
    values = {
        "worthwhile": words.number(result["worthwhile_minutes"], 0),
        "days": words.say("days", days=words.number(result["days"], 0)),
        "replications": words.number(result["replications"], 0),
    }
    return [str(line).format(**values) for line in words.text["explain"]]


def _headlines(words: Words, result: Result, policy: str) -> list[dict[str, str]]:
    """What each disease gains or loses, one sentence each."""
    lines = []
    for row in result["policies"][policy]["groups"]:
        if row["by"] != "disease" or "saved" not in row or row["saved"]["value"] is None:
            continue
        value, half = row["saved"]["value"], row["saved"]["half_width"] or 0.0
        kind = "same" if abs(value) <= half else "sooner" if value > 0 else "later"
        low, high = max(0.0, abs(value) - half), abs(value) + half
        said = {"minutes": abs(value), "low": low, "high": high}
        numbers = {key: words.number(number) for key, number in said.items()}
        lines.append({"kind": kind, "text": words.say(kind, group=words.group(row), **numbers)})
    return lines


def _warnings(words: Words, result: Result, policy: str) -> list[str]:
    """Urgent diseases that no AI looks for: who pays is said even where nothing can be told."""
    lines = []
    for row in result["policies"][policy]["groups"]:
        if row["by"] == "disease" and row["name"] in result["untargeted"]:
            cell = words.difference(row["saved"]) if "saved" in row else Cell("")
            kind = "later" if cell.kind == "later" else "same"
            minutes = words.number(abs(row["saved"]["value"])) if kind == "later" else ""
            lines.append(words.say(f"untargeted_{kind}", group=row["name"], minutes=minutes))
    return lines


def _table(words: Words, result: Result, policy: str) -> dict[str, Any]:
    rows = result["policies"][policy]["groups"]
    heads = ["group", "count", "mean", "median", "p95", "max", "turnaround"]
    exact = any("exact_mean_wait" in row for row in rows)
    if exact:
        heads.insert(3, "exact")
    if policy != result["baseline"]:
        heads += ["difference", "sooner_share", "later_share"]
    return {
        "caption": words.policy(policy),
        "heads": [words.text[head] for head in heads],
        "rows": [[_cell(words, result, row, head) for head in heads] for row in rows],
    }


def _cell(words: Words, result: Result, row: Result, head: str) -> Cell:
    if head == "group":
        note = ""
        if row["by"] == "disease" and row["name"] in result["urgent"]:
            note = words.text["untargeted" if row["name"] in result["untargeted"] else "urgent"]
        return Cell(words.group(row), note)
    if head == "count":
        return Cell(words.number(row["studies"], 0))
    if head == "exact":
        return Cell(words.number(row.get("exact_mean_wait")))
    if head == "difference":
        return words.difference(row["saved"])
    if head in ("sooner_share", "later_share"):
        return Cell(words.percent(row[head.removesuffix("_share")]["value"]))
    figure = row["turnaround"]["mean"] if head == "turnaround" else row["wait"][head]
    half = figure["half_width"]
    return Cell(words.number(figure["value"]), f"± {words.number(half)}" if half else "")
