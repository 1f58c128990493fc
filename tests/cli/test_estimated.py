"""How much of the recent bill no vendor states: one line an upstream, and only where it can be
changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from proxy.cli.estimated import unstated
from proxy.config.settings import Settings, UpstreamSettings
from proxy.core.usage import Source
from tests.ledger.samples import START_MS, make_record

NOW_MS = START_MS + 86_400_000


def settings(data_dir: Path, **upstream: object) -> Settings:
    made = UpstreamSettings(base_url="http://h/v1", api_key="k")
    return Settings(
        data_dir=data_dir,
        upstreams={"modelmax": msgspec.structs.replace(made, **upstream), "other": made},
    )


@pytest.mark.parametrize(
    ("sources", "upstream", "line"),
    [
        ([Source.REPORTED], {}, None),
        (
            [Source.REPORTED, Source.ESTIMATED, Source.COUNTED, Source.PARTIAL],
            {},
            "upstreams.modelmax: 2 of 3 answers (67 %) of the last 30 days state no usage",
        ),
        (
            [Source.NONE, Source.PARTIAL, Source.NONE],
            {},
            None,
        ),  # errors of the vendor, and what a client left: nothing was to be stated
        (
            [Source.NONE] * 30 + [Source.REPORTED] * 2 + [Source.COUNTED],
            {},
            "upstreams.modelmax: 1 of 3 answers (33 %) of the last 30 days state no usage",
        ),
        ([Source.ESTIMATED], {"stream_usage": "inject"}, None),
    ],
)
def test_what_is_not_stated_is_told(
    book: Callable[..., Path], sources: list[Source], upstream: dict[str, object], line: str | None
) -> None:
    data_dir = book(*(make_record(number, source=source) for number, source in enumerate(sources)))
    found = unstated(settings(data_dir, **upstream), NOW_MS)
    assert len(found) == (line is not None) and all(text.startswith(str(line)) for text in found)
    assert unstated(settings(data_dir, **upstream), NOW_MS + 40 * 86_400_000) == [], "long ago"


def test_only_the_latest_records_are_looked_at(
    book: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.cli.estimated.RECORDS_MAX", 2)
    data_dir = book(
        *(
            make_record(number, source=source)
            for number, source in enumerate([Source.ESTIMATED, Source.REPORTED, Source.REPORTED])
        )
    )
    assert unstated(settings(data_dir), NOW_MS) == []


def test_without_a_ledger_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert unstated(settings(tmp_path), NOW_MS) == []


def test_check_tells_it(
    call: Callable[..., object], book: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = book(make_record(1, source=Source.ESTIMATED, upstream="modelmax"))
    monkeypatch.setattr("time.time_ns", lambda: NOW_MS * 1_000_000)
    config = data_dir.parent / "config.yaml"
    config.write_text(
        "upstreams: {modelmax: {base_url: 'http://h/v1', api_key: k}}\nroutes: [{model: '*', upstream: modelmax}]\nkeys: {a: {secret: s}}\n"
    )
    assert (
        "Note: upstreams.modelmax: 1 of 1 answers (100 %)"
        in call("check", "-c", str(config)).stderr
    )  # type: ignore[attr-defined]
