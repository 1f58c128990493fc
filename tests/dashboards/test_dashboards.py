"""The dashboards as files: fresh, complete, and by the rules of Grafana's own linter
(dashboard-linter), said again here."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit
from zoneinfo import ZoneInfo

import pytest
import yaml

from proxy.admin.pages.chosen_records import ChosenAsked, chosen
from proxy.config.settings import TimeoutSettings
from proxy.core.http.parameters import read_parameters
from proxy.metrics.buckets import DURATION_BOUNDS_S, FIRST_BYTE_BOUNDS_S
from proxy.metrics.definitions import PREFIX, SPECS
from tools.dashboards.files import DASHBOARDS, TARGET, files
from tools.dashboards.rules import ALERTS, RECORDINGS

Json = dict[str, object]
DOCUMENTS = {
    path.stem: json.loads(path.read_text()) for path in sorted((TARGET / "grafana").glob("*.json"))
}
COUNTERS = "|".join(
    rf"{PREFIX}{spec.name}"
    if spec.kind == "counter"
    else rf"{PREFIX}{spec.name}_(?:bucket|count|sum)"
    for spec in SPECS
    if spec.kind != "gauge"
)
SELECTOR = re.compile(rf"({PREFIX}\w+)(\{{[^}}]*\}})?(\[[^\]]*\])?")

RECORDING = re.compile(r"\b\w+:\w+:\w+\b")


def panels() -> Iterator[tuple[str, Json]]:
    """Every panel but the rows, with a name for the message."""
    for name, document in DOCUMENTS.items():
        for panel in document["panels"]:
            if panel["type"] != "row":
                yield f"{name}: {panel['title']}", panel


def targets() -> Iterator[tuple[str, str]]:
    for where, panel in panels():
        for target in panel["targets"]:
            yield where, target["expr"]


def metric(name: str) -> str:
    """The declared metric that a sample's name belongs to."""
    names = {spec.name for spec in SPECS}
    bare = name.removeprefix(PREFIX)
    return bare if bare in names else re.sub(r"_(bucket|count|sum)$", "", bare)


def test_the_files_are_what_the_source_says():
    made = files()
    for name, text in made.items():
        assert (TARGET / name).read_text() == text, (
            f"dashboards/{name} is old: run `make dashboards` and commit what it writes"
        )
    assert {path.stem for path in (TARGET / "grafana").glob("*.json")} == {
        dashboard.uid for dashboard in DASHBOARDS
    }


def test_every_metric_that_is_asked_for_exists_with_the_labels_it_is_asked_by():
    labels = {
        spec.name: {*spec.labels, "job", "instance", *({"le"} if spec.kind == "histogram" else ())}
        for spec in SPECS
    }
    asked = [
        *targets(),
        *((rule.name, RECORDING.sub("up", rule.expression)) for rule in (*RECORDINGS, *ALERTS)),
    ]
    for where, expression in asked:
        for name, matchers, _ in SELECTOR.findall(expression):
            assert metric(name) in labels, f"{where}: {name} is no metric"
            unknown = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) - labels[metric(name)]
            assert not unknown, f"{where}: {name} has no label {unknown}"
        used = {
            label
            for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
            for label in re.split(r",\s*", group)
        }
        known = (
            set().union(*(labels[metric(name)] for name, _, _ in SELECTOR.findall(expression)))
            if SELECTOR.search(expression)
            else used
        )
        assert used <= known, f"{where}: grouped by {used - known}, which no metric in it has"


def test_every_metric_is_on_a_dashboard():
    shown = {
        metric(name) for _, expression in targets() for name, _, _ in SELECTOR.findall(expression)
    }
    assert not {spec.name for spec in SPECS} - shown, (
        "give each new metric a panel in tools/dashboards"
    )


def test_panels_link_to_alerts_that_exist_and_every_alert_is_linked():
    linked = {
        link["url"].rpartition("#")[2] for _, panel in panels() for link in panel.get("links", [])
    }
    nowhere = {"tollkeeperdown"}  # what is down shows nothing
    assert linked == {alert.name.lower() for alert in ALERTS} - nowhere


SAMPLES = {
    "admin": "http://127.0.0.1:8791",
    "__from": "1793500000000",
    "__to": "1793599999999",
    "__to:date:YYYY-MM": "2026-11",
    "__to:date:YYYY-MM-DD": "2026-11-30",
}


def test_lines_of_a_team_key_model_or_upstream_lead_to_their_requests():
    """What Grafana puts into the links, the page takes; a name with any sign stays one name."""
    opened = set()
    for _, panel in panels():
        for link in panel["fieldConfig"]["defaults"].get("links", []):
            url = re.sub(
                r"\$\{([^}]+)\}",
                lambda found: (
                    SAMPLES.get(found[1]) or quote(f"a&b={found[1].split(':')[0]}", safe="")
                ),
                link["url"],
            )
            assert url.startswith("http://127.0.0.1:8791/ui/records?"), url
            asked = read_parameters(ChosenAsked, parse_qsl(urlsplit(url).query))
            wanted = chosen(asked, ZoneInfo("UTC")).wanted
            place = "__data.fields" if panel["type"] == "table" else "__field.labels"
            assert wanted == {name: f"a&b={place}.{name}" for name in wanted} and wanted, url
            opened.add(panel["title"])
    assert {"Charge an hour, by team", "Charge of teams, this month", "By model"} <= opened
    assert not opened & {"Refusals by key", "Keys that expire"}


def test_the_documentation_says_what_each_panel_answers_and_shows_it():
    text = (TARGET.parent / "docs" / "dashboards.md").read_text()
    told = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", text, re.MULTILINE)
    assert told == [
        (panel.title, panel.description) for dashboard in DASHBOARDS for panel in dashboard.panels
    ], "docs/dashboards.md: one row a panel, in its words and order"
    pictures = re.findall(r"\]\((pictures/[\w-]+\.svg)\)", text)
    assert len(pictures) == len(DASHBOARDS)
    for dashboard, picture in zip(DASHBOARDS, pictures, strict=True):
        drawn = (TARGET.parent / "docs" / picture).read_text()
        missing = [
            panel.title
            for panel in dashboard.panels
            if f">{html.escape(panel.title)}</text>" not in drawn
        ]
        assert not missing, f"docs/{picture} is old: draw it anew, see tools/dashboards/pictures.py"


def test_no_panel_shows_a_time_or_a_size_below_zero():
    """Differences to now and forecasts are held at zero, or what is below is left out; and no axis
    begins under zero."""
    for where, panel in panels():
        expressions = [target["expr"] for target in panel["targets"]]
        for expression in expressions:
            assert (
                not re.search(r"time\(\)|predict_linear|deriv", expression)
                or "clamp_min(" in expression
                or re.search(r"time\(\) > 0\)", expression)
            ), f"{where}: {expression}"
        if panel["type"] == "timeseries":
            may = any("_error_ratio" in expression for expression in expressions)
            assert panel["fieldConfig"]["defaults"].get("min") == (None if may else 0), where


def test_each_amount_of_money_names_its_currency_and_each_pace_its_time():
    money = [
        (where, panel)
        for where, panel in panels()
        if re.search(r"_(?:cost|charge)(?:_total)?\{", str(panel["targets"]))
    ]
    assert len(money) >= 10
    for where, panel in money:
        for target in panel["targets"]:
            assert "currency" in target["legendFormat"] or (
                panel["type"] == "table" and "currency)" in target["expr"]
            ), where
            assert (
                ("* 3600" in target["expr"])
                == ("an hour" in panel["title"])
                == (
                    panel["fieldConfig"]["defaults"].get("custom", {}).get("axisLabel")
                    == "currency units an hour"
                )
            ), where
        assert panel["type"] != "stat" or panel["options"]["textMode"] == "value_and_name", where


def test_tables_have_pages_and_say_each_name_once():
    for where, panel in panels():
        if panel["type"] == "table":
            assert (
                panel["options"]["enablePagination"]
                and panel["options"]["footer"]["enablePagination"]
            ), where
        for target in panel["targets"]:
            assert not ("limit" in target["legendFormat"] and "{{id}}" in target["legendFormat"]), (
                f"{where}: a limit's name is unique, and mostly says whose it is"
            )


def test_histograms_reach_the_timeouts():
    timeouts = TimeoutSettings()
    assert (DURATION_BOUNDS_S[-1], FIRST_BYTE_BOUNDS_S[-1]) == (
        timeouts.total_s,
        timeouts.first_byte_s,
    ), "above its last bound a histogram knows no quantile"


def test_provisioning_reads_where_the_readme_says():
    for path in (TARGET / "grafana" / "provisioning").rglob("*.yaml"):
        assert yaml.safe_load(path.read_text())["apiVersion"] == 1, path
    uids = [document["uid"] for document in DOCUMENTS.values()]
    assert len(set(uids)) == len(uids) == 4


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
class TestLinter:
    """One test for each rule of dashboard-linter that concerns Prometheus, under its name there."""

    def variables(self, document: Json) -> dict[str, Json]:
        return {variable["name"]: variable for variable in document["templating"]["list"]}

    def expressions(self, document: Json) -> list[str]:
        return [
            target["expr"] for panel in document["panels"] for target in panel.get("targets", [])
        ]

    def test_template_datasource(self, document):
        source = self.variables(document)["datasource"]
        assert (source["type"], source["query"], source["label"]) == (
            "datasource",
            "prometheus",
            "Data source",
        )

    @pytest.mark.parametrize("name", ["job", "instance"])
    def test_template_job_and_instance(self, document, name):
        variable = self.variables(document)[name]
        assert (
            variable["type"],
            variable["datasource"]["uid"],
            variable["label"],
            variable["allValue"],
        ) == ("query", "${datasource}", name.title(), ".+")
        assert variable["multi"]
        assert variable["includeAll"]

    def test_template_label_promql(self, document):
        for name, variable in self.variables(document).items():
            if variable["type"] == "query":
                assert re.fullmatch(
                    rf"label_values\({PREFIX}\w+(\{{.*\}})?, {name}\)", variable["query"]["query"]
                ), variable["query"]

    def test_template_on_time_change_reload(self, document):
        assert {
            variable["refresh"]
            for variable in self.variables(document).values()
            if variable["type"] == "query"
        } == {2}

    def test_panel_datasource(self, document):
        for panel in document["panels"]:
            if panel["type"] != "row":
                assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
                assert all(
                    target["datasource"] == panel["datasource"] for target in panel["targets"]
                )

    def test_panel_title_description(self, document):
        for panel in document["panels"]:
            assert panel["title"], panel
            assert panel["type"] == "row" or re.fullmatch(
                r"[A-Z0-9].*[.)]", panel["description"]
            ), panel["title"]

    def test_panel_units(self, document):
        for panel in document["panels"]:
            assert panel["type"] == "row" or panel["fieldConfig"]["defaults"]["unit"] in {
                "short",
                "s",
                "percentunit",
                "reqps",
                "bytes",
            }, panel["title"]

    def test_panel_no_targets(self, document):
        assert all(panel["type"] == "row" or panel["targets"] for panel in document["panels"])

    def test_target_job_and_instance(self, document):
        for expression in self.expressions(document):
            for name, matchers, _ in SELECTOR.findall(expression):
                assert matchers.startswith('{job=~"$job", instance=~"$instance"'), (
                    f"{name} in {expression}"
                )

    def test_target_rate_interval(self, document):
        for expression in self.expressions(document):
            assert not re.search(r"\bi?rate\([^\[]*\[(?!\$__rate_interval\])", expression), (
                expression
            )

    def test_target_counter_aggregation(self, document):
        for expression in self.expressions(document):
            for found in re.finditer(rf"\b(?:{COUNTERS})\b", expression):
                assert re.search(r"\b(rate|irate|increase)\($", expression[: found.start()]), (
                    expression
                )

    def test_uneditable_dashboard(self, document):
        assert document["editable"] is False

    def test_nothing_lies_on_something_else(self, document):
        taken: set[tuple[int, int]] = set()
        for panel in document["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert place["x"] + place["w"] <= 24
            taken |= cells
        titles = [panel["title"] for panel in document["panels"]]
        assert len(set(titles)) == len(titles), "two panels of one title"
        ids = [panel["id"] for panel in document["panels"]]
        assert len(set(ids)) == len(ids)


def test_a_runbook_of_ones_own_can_be_linked(tmp_path: Path):
    made = files("https://wiki.example/runbook")
    assert (
        '"https://wiki.example/runbook#tollkeeperledgerlag"'
        in made["grafana/tollkeeper-ledger.json"]
    )
    assert "docs/runbook.md" not in "".join(made.values())
