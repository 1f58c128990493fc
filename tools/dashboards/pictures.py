"""Draws the dashboards as SVG from what a Prometheus holds: `python -m tools.dashboards.pictures
--prometheus http://127.0.0.1:9090 --minutes 12 --out docs/pictures`.

For the documentation. It asks what Grafana would ask and lays panels out as Grafana does; how they
are drawn is simpler.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from tools.dashboards.files import DASHBOARDS
from tools.dashboards.grafana import COLUMNS, Dashboard, Panel, Query, scoped

COLUMN, LINE, GAP = 50, 26, 6
POINTS = 90
ROWS_MAX, SERIES_MAX = 9, 8
COLORS = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0")
GREEN, YELLOW, RED = "#73bf69", "#f2cc0c", "#f2495c"
PAPER, CARD, INK, FAINT = "#111217", "#181b1f", "#d8d9da", "#7b8087"

Labels = dict[str, str]
Series = tuple[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Source:
    """A Prometheus and the span to draw, in Unix seconds."""

    url: str
    start_s: float
    end_s: float
    rate_s: int

    def instant(self, query: Query) -> list[tuple[Labels, float]]:
        found = self._get("query", query=self._filled(query), time=f"{self.end_s:.3f}")
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    def range(self, query: Query) -> list[Series]:
        step_s = max(1.0, (self.end_s - self.start_s) / POINTS)
        found = self._get(
            "query_range",
            query=self._filled(query),
            start=f"{self.start_s:.3f}",
            end=f"{self.end_s:.3f}",
            step=f"{step_s:.3f}",
        )
        return [
            (
                legend(query, series["metric"]),
                [(float(at), float(value)) for at, value in series["values"]],
            )
            for series in found
        ]

    def _filled(self, query: Query) -> str:
        """Every filter set to All."""
        text = (
            scoped(query.expression)
            .replace("$__rate_interval", f"{self.rate_s}s")
            .replace("$__range", f"{int(self.end_s - self.start_s)}s")
        )
        return re.sub(r"\$\w+", ".*", text)

    def _get(self, path: str, **parameters: str) -> list[dict[str, list[object]]]:
        with urllib.request.urlopen(
            f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        ) as answer:
            found: list[dict[str, list[object]]] = json.load(answer)["data"]["result"]
            return found


def legend(query: Query, labels: Labels) -> str:
    return (
        re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), query.legend).strip()
        or ", ".join(labels.values())
        or "value"
    )


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """A number with its unit, about as Grafana writes it."""
    if not math.isfinite(value):
        return "–"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value * 1e6:.3g} µs" if value else "0 s"
    if unit == "bytes":
        power = min(4, int(math.log(abs(value), 1024))) if abs(value) >= 1 else 0
        return f"{value / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
    text = (
        f"{value:.{decimals}f}"
        if decimals is not None
        else f"{value:.3g}"
        if abs(value) < 1000
        else f"{value / 1000:.3g} K"
        if abs(value) < 1e6
        else f"{value / 1e6:.3g} M"
    )
    return text + (" req/s" if unit == "reqps" else "")


def color(panel: Panel, value: float) -> str:
    """By the panel's thresholds."""
    if panel.warn is not None and panel.fail is not None and panel.fail < panel.warn:
        return RED if value < panel.fail else YELLOW if value < panel.warn else GREEN
    if panel.fail is not None and value >= panel.fail:
        return RED
    return YELLOW if panel.warn is not None and value >= panel.warn else GREEN


def text(
    x: float,
    y: float,
    said: str,
    *,
    size: int = 11,
    fill: str = INK,
    anchor: str = "start",
    weight: str = "normal",
) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" font-weight="{weight}">{escape(said)}</text>'


def picture(dashboard: Dashboard, source: Source) -> str:
    """The whole dashboard as one SVG."""
    body: list[str] = []
    top = 44.0
    for row in dashboard.rows:
        body.append(text(GAP, top + 16, row.title, size=13, weight="bold"))
        top += LINE
        left, height = 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, height = top + height * LINE, 0, 0
            body += _card(
                panel,
                source,
                left * COLUMN + GAP / 2,
                top,
                panel.width * COLUMN - GAP,
                panel.height * LINE - GAP,
            )
            left, height = left + panel.width, max(height, panel.height)
        top += height * LINE
    width = COLUMNS * COLUMN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top:.0f}" font-family="Inter, Helvetica, Arial, sans-serif"><rect width="100%" height="100%" fill="{PAPER}"/>'
    return "\n".join(
        [
            head,
            text(GAP, 26, dashboard.title, size=18, weight="bold"),
            text(width - GAP, 26, dashboard.description, fill=FAINT, anchor="end"),
            *body,
            "</svg>",
            "",
        ]
    )


def _card(
    panel: Panel, source: Source, x: float, y: float, width: float, height: float
) -> Iterator[str]:
    yield f'<g transform="translate({x:.0f} {y:.0f})"><title>{escape(panel.description)}</title><rect width="{width:.0f}" height="{height:.0f}" rx="3" fill="{CARD}"/>'
    yield text(8, 17, panel.title, size=12, weight="bold")
    draw = {"stat": _stat, "bargauge": _bars, "table": _table, "timeseries": _graph}[panel.kind]
    yield from draw(panel, source, width, height)
    yield "</g>"


def _none(width: float, height: float) -> str:
    return text(width / 2, height / 2 + 8, "no data", fill=FAINT, anchor="middle")


def _stat(panel: Panel, source: Source, width: float, height: float) -> Iterator[str]:
    found = [
        (value, legend(query, labels) if "{{" in query.legend else "")
        for query in panel.queries
        for labels, value in source.instant(query)
    ]
    if not found:
        yield _none(width, height)
    for number, (value, name) in enumerate(found[:3]):
        yield text(
            width / 2,
            height / 2 + 20 + 28 * (number - (min(len(found), 3) - 1) / 2),
            f"{shown(value, panel.unit, panel.decimals)} {name}".strip(),
            size=26 if len(found) == 1 else 18,
            fill=color(panel, value),
            anchor="middle",
            weight="bold",
        )


def _bars(panel: Panel, source: Source, width: float, height: float) -> Iterator[str]:
    found = sorted(
        (
            (value, legend(query, labels))
            for query in panel.queries
            for labels, value in source.instant(query)
        ),
        reverse=True,
    )[: int((height - 30) / 22)]
    if not found:
        yield _none(width, height)
        return
    most = panel.high if panel.high is not None else max(value for value, _ in found)
    for number, (value, name) in enumerate(found):
        y, room = 28 + number * 22, width * 0.45
        yield text(8, y + 13, name[:44])
        yield f'<rect x="{width * 0.42:.0f}" y="{y:.0f}" width="{room:.0f}" height="16" fill="#22252b"/>'
        yield f'<rect x="{width * 0.42:.0f}" y="{y:.0f}" width="{max(1.0, room * min(1.0, value / most if most else 0)):.0f}" height="16" fill="{color(panel, value)}"/>'
        yield text(
            width - 8,
            y + 13,
            shown(value, panel.unit, panel.decimals),
            fill=color(panel, value),
            anchor="end",
        )


def _table(panel: Panel, source: Source, width: float, height: float) -> Iterator[str]:
    cells: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for query in panel.queries:
        for labels, value in source.instant(query):
            cells.setdefault(
                tuple(
                    sorted(
                        (name, said)
                        for name, said in labels.items()
                        if name not in ("__name__", "job", "instance", *panel.hidden)
                    )
                ),
                {},
            )[query.legend] = value
    if not cells:
        yield _none(width, height)
        return
    names = list(dict.fromkeys(name for row in cells for name, _ in row))
    heads = [*names, *(query.legend for query in panel.queries if query.legend not in panel.hidden)]
    step = (width - 16) / len(heads)
    for column, head in enumerate(heads):
        yield text(8 + column * step, 36, head, fill=FAINT)
    for number, (labels, values) in enumerate(list(cells.items())[: int((height - 44) / 17)]):
        said = [dict(labels).get(name, "") for name in names] + [
            shown(values[head], panel.unit, panel.decimals) if head in values else ""
            for head in heads[len(names) :]
        ]
        for column, cell in enumerate(said):
            yield text(8 + column * step, 54 + number * 17, cell[: max(6, int(step / 6))])


def _graph(panel: Panel, source: Source, width: float, height: float) -> Iterator[str]:
    series = [found for query in panel.queries for found in source.range(query)]
    series = sorted(
        series,
        key=lambda one: -max((value for _, value in one[1] if math.isfinite(value)), default=0.0),
    )[:SERIES_MAX]
    values = [value for _, points in series for _, value in points if math.isfinite(value)]
    if not values:
        yield _none(width, height)
        return
    lines = _stacked(series) if panel.stacked else series
    most = max(value for _, points in lines for _, value in points if math.isfinite(value))
    least = min(0.0, min(values)) if panel.signed else 0.0
    most = most if most > least else least + 1
    rows = -(-len(series) // 4)
    area = (62.0, 28.0, width - 74, height - 50 - rows * 14)

    def place(at: float, value: float) -> tuple[float, float]:
        return area[0] + area[2] * (at - source.start_s) / (source.end_s - source.start_s), area[
            1
        ] + area[3] * (1 - (value - least) / (most - least))

    if panel.axis:
        yield text(width - 8, 17, panel.axis, size=10, fill=FAINT, anchor="end")
    for tick in range(5):
        value = least + (most - least) * tick / 4
        _, y = place(source.start_s, value)
        yield f'<path d="M{area[0]:.0f} {y:.0f}H{area[0] + area[2]:.0f}" stroke="#2c3235"/>' + text(
            area[0] - 6, y + 4, shown(value, panel.unit), size=9, fill=FAINT, anchor="end"
        )
    for tick in range(4):
        at = source.start_s + (source.end_s - source.start_s) * (tick + 0.5) / 4
        yield text(
            place(at, least)[0],
            area[1] + area[3] + 14,
            time.strftime("%H:%M:%S", time.gmtime(at)),
            size=9,
            fill=FAINT,
            anchor="middle",
        )
    for number, (name, points) in reversed(list(enumerate(lines))):
        path = " ".join(
            f"{x:.0f},{y:.0f}"
            for x, y in (place(at, value) for at, value in points if math.isfinite(value))
        )
        if panel.stacked and path:
            begin, end = path.split(" ")[0].split(",")[0], path.split(" ")[-1].split(",")[0]
            yield f'<polygon points="{begin},{area[1] + area[3]:.0f} {path} {end},{area[1] + area[3]:.0f}" fill="{_mixed(COLORS[number])}"/>'
        yield f'<polyline points="{path}" fill="none" stroke="{COLORS[number]}" stroke-width="1.2"/>'
        x, y = 10 + number % 4 * (width - 16) / 4, height - rows * 14 + number // 4 * 14
        yield (
            f'<rect x="{x:.0f}" y="{y:.0f}" width="9" height="3" fill="{COLORS[number]}"/>'
            + text(x + 13, y + 5, name[: int(width / 4 / 6.2)], size=10)
        )


def _mixed(one: str) -> str:
    """Of a color a third, on the card: opaque, so that what is stacked behind does not shine
    through."""
    mixed = [
        round(int(one[at : at + 2], 16) * 0.35 + int(CARD[at : at + 2], 16) * 0.65)
        for at in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _stacked(series: Sequence[Series]) -> list[Series]:
    """Each on top of those before it."""
    below: dict[float, float] = {}
    stacked: list[Series] = []
    for name, points in series:
        raised = [
            (at, below.get(at, 0.0) + (value if math.isfinite(value) else 0.0))
            for at, value in points
        ]
        below.update(raised)
        stacked.append((name, raised))
    return stacked


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools.dashboards.pictures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--until", type=float, metavar="UNIX", help="end of the span, default now")
    parser.add_argument(
        "--minutes", type=float, default=12.0, help="length of the span, default %(default)s"
    )
    parser.add_argument(
        "--rate",
        type=int,
        default=30,
        metavar="SECONDS",
        help="window of the rates, default %(default)s",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    end_s = arguments.until if arguments.until is not None else time.time()
    source = Source(arguments.prometheus, end_s - arguments.minutes * 60, end_s, arguments.rate)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        (arguments.out / f"{dashboard.uid.removeprefix('tollkeeper-')}.svg").write_text(
            picture(dashboard, source), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
