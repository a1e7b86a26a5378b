"""Writes the dashboard: ``python -m infra.grafana.build``. A test finds a JSON edited by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.grafana.panels import ROWS, Panel

TARGET = Path(__file__).parent / "dashboards" / "vigie.json"
_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_COLUMNS = 24
#: Okabe and Ito's palette: told apart by readers with any colour vision.
_GREEN, _ORANGE, _RED = "#009E73", "#E69F00", "#D55E00"


def _panel(panel: Panel, number: int, left: int, top: int, height: int) -> dict[str, Any]:
    steps: list[dict[str, str | float | None]] = [{"color": _GREEN, "value": None}]
    steps += [
        {"color": colour, "value": value}
        for colour, value in ((_ORANGE, panel.warn), (_RED, panel.bad))
        if value is not None
    ]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never"}
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}}
    if panel.kind == "stat":
        options = {
            "colorMode": "value",
            "textMode": "value_and_name",
            "reduceOptions": {"calcs": ["lastNotNull"]},
        }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": _SOURCE,
        "gridPos": {"h": height, "w": panel.width, "x": left, "y": top},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": _SOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for n, (expression, legend) in enumerate(panel.queries)
        ],
    }


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"h": 1, "w": _COLUMNS, "x": 0, "y": top},
            }
        )
        top += 1
        left = height = 0
        for panel in row.panels:
            tall = 4 if panel.kind == "stat" else 8
            if left + panel.width > _COLUMNS:
                left, top, height = 0, top + height, 0
            panels.append(_panel(panel, len(panels) + 1, left, top, tall))
            left, height = left + panel.width, max(height, tall)
        top += height
    return {
        "uid": "vigie",
        "title": "Vigie",
        "tags": ["vigie"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-3h", "to": "now"},
        "graphTooltip": 1,
        "annotations": {"list": []},
        "templating": {"list": []},
        "panels": panels,
    }


def text() -> str:
    """The file's text."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
