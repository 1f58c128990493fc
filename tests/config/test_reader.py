"""Nodes -> settings: reading goes on after a problem, and a block that is wrong still stands for
its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.nodes import Node, parse
from proxy.config.reader import SettingsReader
from proxy.config.settings import DatedShare, LimitSettings, Settings


def read(text: str, base: Path = Path()) -> tuple[Settings, list[str]]:
    tree, problems = parse(text, "f")
    assert tree is not None
    assert problems == []
    reader = SettingsReader(base)
    return reader.read(Settings, tree), [str(problem) for problem in reader.problems]


def test_everything_in_one_file() -> None:
    settings, problems = read("""
listen: "[::1]:8790"
metrics: {labels: [model]}
admin: {tokens: {ops: {token: t, role: admin}}}
drain: {delay: 0}
fx: {CNY: [{rate: "0.14", from: 2026-01-01}]}
upstreams: {v: {base_url: "http://h/v1/", query: {api-version: "1"}, timeouts: {idle: 1m}, cached_inside_input: false, ca_file: ca.pem, connections_max: 5}}
routes: [{model: "*", upstream: v}]
passthrough: [{path: /v1/files*, methods: [GET, POST], upstream: v}]
prices: [{model: m, input: 3, output: "0.42", above_input_tokens: 0}]
limits: ["60 requests/minute", {limit: 2_000_000 tokens/day, name: soft, enforce: warn, warn_at: [80%], burst: 5}]
teams: {red: {labels: {cost_center: "4711"}, limits: []}, blue: {limits: ["5 USD/day"]}}
keys: {a: {team: red, models: [gpt-*], expires: 2027-01-01}}
""")
    assert problems == []
    assert settings.metrics.labels == ("model",)
    assert settings.admin.tokens["ops"].role == "admin"
    assert settings.drain.delay_s == 0.0
    assert settings.fx["CNY"][0].from_ == "2026-01-01"
    upstream = settings.upstreams["v"]
    assert (
        upstream.base_url,
        upstream.timeouts.idle_s,
        upstream.timeouts.total_s,
        upstream.ca_file,
    ) == ("http://h/v1", 60.0, None, Path("ca.pem"))
    assert settings.prices[0].input == "3"
    assert settings.prices[0].above_input_tokens == 0
    assert settings.limits == (
        LimitSettings(limit="60 requests/minute"),
        LimitSettings(
            limit="2_000_000 tokens/day", name="soft", enforce="warn", warn_at=("80%",), burst=5
        ),
    )
    assert (settings.teams["red"].limits, settings.keys["a"].limits) == (
        (),
        None,
    )  # none at all is not the same as the defaults


@pytest.mark.parametrize(
    ("written", "markup", "problem"),
    [
        ('"0.05"', "0.05", None),
        ("5", "5", None),
        (
            '[{rate: "0.05"}, {rate: "0.1", from: 2026-12-01}]',
            (DatedShare(rate="0.05"), DatedShare(rate="0.1", from_="2026-12-01")),
            None,
        ),
        ("[]", (), None),
        ("0.05", "0", "markup: 0.05 is a YAML float"),
        ('{rate: "0.05"}', "0", "markup: expected a single value, or a list"),
        ("[{rate: 0.05}]", (DatedShare(rate=""),), "markup[0].rate: 0.05 is a YAML float"),
        (
            '["0.05"]',
            (DatedShare(rate=""),),
            "markup[0]: expected a mapping of keys to values; known here: rate, from",
        ),
        (
            '[{rate: "0.05", from: December}]',
            (DatedShare(rate="0.05"),),
            "markup[0].from: expected a day such as",
        ),
    ],
)
def test_a_share_is_one_decimal_or_a_list_with_dates(
    written: str, markup: object, problem: str | None
) -> None:
    settings, problems = read(f"teams: {{t: {{markup: {written}}}}}")
    assert settings.teams["t"].markup == markup
    assert [problem for problem in problems if "upstreams" not in problem] == problems
    assert len(problems) == (problem is not None) and all(
        f"teams.t.{problem}" in told for told in problems
    )


def test_a_wrong_value_leaves_its_default_and_a_wrong_block_its_name() -> None:
    settings, problems = read(
        "inflight_max: many\nupstreams: {v: 5, w: {base_url: 7}}\nroutes: [nonsense, {model: m, upstream: w}]\nkeys: {a: {models: x}}\n"
    )
    assert settings.inflight_max == Settings().inflight_max
    assert set(settings.upstreams) == {"v", "w"}
    assert settings.upstreams["w"].base_url == ""
    assert settings.routes[1].upstream == "w"
    assert settings.keys["a"].models == ()
    assert [problem.split(": ")[1] for problem in problems] == [
        "inflight_max",
        "upstreams.v",
        "upstreams.w.base_url",
        "routes[0]",
        "keys.a.models",
    ]


def test_places_are_remembered_for_later_checks() -> None:
    tree, _ = parse("routes:\n  - model: a\n    upstream: b\n", "f")
    assert tree is not None
    reader = SettingsReader(Path())
    reader.read(Settings, tree)
    assert reader.where["routes[0].upstream"] == "f:3"


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (None, "cannot read key.txt: No such file or directory"),
        (b"two words", "in the file: a secret has no blanks"),
        (b"\xff\xfe", "the file is not text in UTF-8"),
        (b"x" * 70_000, "the file is larger than 65536 bytes"),
    ],
)
def test_secret_files_that_hold_none(tmp_path: Path, content: bytes | None, fragment: str) -> None:
    if content is not None:
        (tmp_path / "key.txt").write_bytes(content)
    _, (problem,) = read("keys: {a: {secret_file: key.txt}}", tmp_path)
    assert fragment in problem
    assert "two words" not in problem


def test_numbers_and_switches_from_variables_are_text_that_is_read() -> None:
    reader = SettingsReader(Path())
    values = {
        "inflight_max": Node("12", "f:1", "${N}"),
        "upstreams": Node(
            {
                "v": Node(
                    {
                        "base_url": Node("http://h", "f:2", "http://h"),
                        "cached_inside_input": Node("false", "f:2", "${B}"),
                    },
                    "f:2",
                )
            },
            "f:2",
        ),
    }
    settings = reader.read(Settings, Node(values, "f:1"))
    assert reader.problems == []
    assert settings.inflight_max == 12
    assert settings.upstreams["v"].cached_inside_input is False
