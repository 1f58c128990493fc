"""Dashboards as values, and the JSON that Grafana imports.

Expressions name metrics in full and filter by what the panel is about; the job and the instance,
which every selector needs, are put in here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

COLUMNS = 24
SCOPE = 'job=~"$job", instance=~"$instance"'
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
TAG = "tollkeeper"
SELECTOR = re.compile(r"\b(tollkeeper_\w+)(\{([^}]*)\})?")
# What the admin pages list requests by. A line that is about one of these leads to its requests.
OPENED = ("team", "key", "model", "upstream")
RANGE = "from=${__from}&to=${__to}"
PERIODS = {"month": "month=${__to:date:YYYY-MM}", "day": "day=${__to:date:YYYY-MM-DD}"}
PAGES = "http://127.0.0.1:8791"  # where `admin.listen` is by default
GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Query:
    """One expression and how its series are called; `{{label}}` stands for a label's value."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """What one panel answers. `description` is that in a sentence; `alert` names the alert whose
    section of the runbook says what to do.

    `kind`: timeseries, stat, bargauge or table. `warn` and `fail` are the thresholds; with `fail`
    below `warn`, less is worse.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    warn: float | None = None
    fail: float | None = None
    low: float | None = None
    high: float | None = None
    stacked: bool = False
    decimals: int | None = None
    alert: str | None = None
    axis: str = ""  # what the numbers of a graph are, where the unit does not say it
    signed: bool = False  # may be below zero; a graph of anything else begins at zero
    hidden: Sequence[str] = ()  # columns of a table
    opens: bool = True  # its lines lead to requests in the admin pages


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A filter offered at the top: the values of a label of a metric."""

    name: str
    label: str
    metric: str


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()
    span: str = "now-6h"
    refresh: str = "30s"
    panels: Sequence[Panel] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "panels", tuple(panel for row in self.rows for panel in row.panels)
        )


def scoped(expression: str) -> str:
    """The expression with job and instance in every selector."""
    return SELECTOR.sub(
        lambda found: f"{found[1]}{{{SCOPE}{', ' + found[3] if found[3] else ''}}}", expression
    )


def document(dashboard: Dashboard, runbook: str) -> Json:
    """The JSON to import or to provision. `runbook` is the address of docs/runbook.md."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "editable": False,
        "graphTooltip": 1,
        "schemaVersion": 39,
        "version": 1,
        "timezone": "browser",
        "refresh": dashboard.refresh,
        "time": {"from": dashboard.span, "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "Tollkeeper",
                "tags": [TAG],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
            },
            {
                "type": "link",
                "title": "Runbook",
                "url": runbook,
                "icon": "doc",
                "tags": [],
                "targetBlank": True,
            },
        ],
        "annotations": {"list": [_restarts()]},
        "templating": {"list": [_datasource(), *_variables(dashboard.variables), _pages()]},
        "panels": list(_laid_out(dashboard.rows, runbook)),
    }


def anchor(alert: str) -> str:
    """Of the alert's section in the runbook."""
    return alert.lower()


def _restarts() -> Json:
    """A line through every graph where the process began anew: there the counters start at zero."""
    return {
        "name": "Version", "datasource": DATASOURCE, "enable": True, "iconColor": "blue", "titleFormat": "started, version {{version}}",
        "expr": scoped("count by (instance, version) (tollkeeper_build_info) unless count by (instance, version) (tollkeeper_build_info offset 1m)"), "step": "60s",
    }  # fmt: skip


def _datasource() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "hide": 0,
        "refresh": 1,
        "regex": "",
        "current": {},
    }


def _pages() -> Json:
    """The address of the admin pages as browsers reach it, to be typed in."""
    return {
        "type": "textbox",
        "name": "admin",
        "label": "Admin pages",
        "query": PAGES,
        "hide": 0,
        "current": {"selected": True, "text": PAGES, "value": PAGES},
        "options": [{"selected": True, "text": PAGES, "value": PAGES}],
    }


def _opened(panel: Panel) -> list[Json]:
    """A link from a line to the requests behind it: of the period that it is of, or the range."""
    expressions = [query.expression for query in panel.queries]
    names = [name for name in OPENED if all(_is_by(one, name) for one in expressions)]
    if not names or not panel.opens:
        return []
    place = "__data.fields" if panel.kind == "table" else "__field.labels"
    time = next(
        (said for period, said in PERIODS.items() if f'period="{period}"' in expressions[0]), RANGE
    )
    said = "".join(f"&{name}=${{{place}.{name}:percentencode}}" for name in names)
    url = f"${{admin}}/ui/records?{time}{said}"
    return [{"title": "The requests behind it", "url": url, "targetBlank": True}]


def _is_by(expression: str, label: str) -> bool:
    """Whether the lines of an expression have this label: its outermost sums are by it."""
    groups = re.findall(r"\bby \(([^)]*)\)", expression)
    return bool(groups) and all(label in re.split(r",\s*", group) for group in groups)


def _variables(own: Sequence[Variable]) -> Iterable[Json]:
    yield _query_variable("job", "Job", "label_values(tollkeeper_build_info, job)", all_value=".+")
    yield _query_variable(
        "instance",
        "Instance",
        'label_values(tollkeeper_build_info{job=~"$job"}, instance)',
        all_value=".+",
    )
    for variable in own:
        # `.*`, not `.+`: a label that metrics.labels leaves out is empty, and its series are to be
        # seen all the same.
        yield _query_variable(
            variable.name,
            variable.label,
            f"label_values({scoped(variable.metric)}, {variable.name})",
            all_value=".*",
        )


def _query_variable(name: str, label: str, query: str, *, all_value: str) -> Json:
    return {
        "type": "query", "name": name, "label": label, "datasource": DATASOURCE, "definition": query, "query": {"query": query, "refId": f"Variable-{name}"},
        "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": all_value, "hide": 0, "regex": "",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }  # fmt: skip


def _laid_out(rows: Sequence[Row], runbook: str) -> Iterable[Json]:
    """Rows below each other, and in each its panels from left to right, in as many lines as it
    takes."""
    number, top = 1, 0
    for row in rows:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        number, top, left, line = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, line = top + line, 0, 0
            yield {
                "id": number,
                **_panel(panel, runbook),
                "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
            }
            number, left, line = number + 1, left + panel.width, max(line, panel.height)
        top += line


def _panel(panel: Panel, runbook: str) -> Json:
    instant = panel.kind in ("table", "bargauge")
    made: Json = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [
            _target(query, chr(ord("A") + number), panel.kind, instant)
            for number, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }
    if panel.alert is not None:
        made["links"] = [
            {
                "title": f"Runbook: {panel.alert}",
                "url": f"{runbook}#{anchor(panel.alert)}",
                "targetBlank": True,
            }
        ]
    if panel.kind == "table":
        made["transformations"] = _table(panel)
    return made


def _target(query: Query, letter: str, kind: str, instant: bool) -> Json:
    return {
        "refId": letter, "datasource": DATASOURCE, "expr": scoped(query.expression), "legendFormat": query.legend or "__auto",
        "instant": instant, "range": not instant, "format": "table" if kind == "table" else "time_series",
    }  # fmt: skip


def _defaults(panel: Panel) -> Json:
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": _thresholds(panel),
    }
    # Without a minimum Grafana draws an axis down to -1 under a line of zeros: a negative time.
    low = 0 if panel.kind == "timeseries" and not panel.signed else panel.low
    for name, value in (("min", low), ("max", panel.high), ("decimals", panel.decimals)):
        if value is not None:
            defaults[name] = value
    if links := _opened(panel):
        defaults["links"] = links
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if panel.stacked else 8, "showPoints": "never", "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"}, "thresholdsStyle": {"mode": "off" if panel.fail is None else "dashed"},
            "axisLabel": panel.axis,
        }  # fmt: skip
    return defaults


def _thresholds(panel: Panel) -> Json:
    falling = panel.warn is not None and panel.fail is not None and panel.fail < panel.warn
    steps: list[Json] = [{"color": RED if falling else GREEN, "value": None}]
    marks = (
        [(panel.fail, YELLOW), (panel.warn, GREEN)]
        if falling
        else [(panel.warn, YELLOW), (panel.fail, RED)]
    )
    steps += [{"color": color, "value": value} for value, color in marks if value is not None]
    return {"mode": "absolute", "steps": steps}


def _options(panel: Panel) -> Json:
    if panel.kind == "timeseries":
        return {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.kind == "table":
        # Grafana up to 12.1 reads the footer's, later ones the panel's.
        return {
            "showHeader": True,
            "cellHeight": "sm",
            "enablePagination": True,
            "footer": {"show": False, "enablePagination": True},
        }
    options: Json = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "horizontal" if panel.kind == "bargauge" else "auto",
    }
    if panel.kind == "stat":
        # A legend is a part of what is said, such as the currency of an amount: "auto" would hide
        # it.
        mode = "value_and_name" if any("{{" in query.legend for query in panel.queries) else "auto"
        return {
            **options,
            "colorMode": "value",
            "graphMode": "area",
            "textMode": mode,
            "justifyMode": "auto",
        }
    return {**options, "displayMode": "basic", "showUnfilled": True, "valueMode": "color"}


def _table(panel: Panel) -> list[Json]:
    """One column a query, called by its legend; rows with the same labels become one."""
    names = {
        f"Value #{chr(ord('A') + number)}" if len(panel.queries) > 1 else "Value": query.legend
        for number, query in enumerate(panel.queries)
    }
    hidden = dict.fromkeys(("Time", "__name__", "job", "instance", *panel.hidden), True)
    return [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {"excludeByName": hidden, "renameByName": names, "indexByName": {}},
        },
    ]
