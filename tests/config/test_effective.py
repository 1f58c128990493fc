"""The config in force: shown without secrets and as a config that can be read again; what a reload
cannot change."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path

import msgspec
import pytest
import yaml

from proxy.config.effective import carry_over, masked, what_needs_restart
from proxy.config.loader import load
from proxy.config.settings import (
    AdminSettings,
    AdminToken,
    DatedShare,
    KeySettings,
    LedgerSettings,
    LogSettings,
    NotifySettings,
    Settings,
    SmtpSettings,
    TeamSettings,
    TimeoutSettings,
    UpstreamSettings,
)

SECRETIVE = Settings(
    upstreams={
        "v": UpstreamSettings(
            base_url="http://h",
            api_key="CANARY",
            headers={"Authorization": "CANARY", "X-Api-Key": "CANARY", "X-Title": "shown"},
            query={"token": "CANARY", "v": "shown"},
            proxy="http://user:CANARY@proxy:3128",
        )
    },
    keys={
        "a": KeySettings(secret="CANARY"),
        "b": KeySettings(secret_sha256="CANARY"),
        "c": KeySettings(),
    },
    admin=AdminSettings(tokens={"ops": AdminToken(token="CANARY")}),
    notify=(NotifySettings(url="https://hooks.slack.com/services/CANARY", secret="CANARY"),),
    teams={"t": TeamSettings(notify=(NotifySettings(url="https://h:1?sig=CANARY"),))},
    smtp=SmtpSettings(password="CANARY"),
)


def test_credentials_are_masked_and_the_rest_is_shown() -> None:
    shown = masked(SECRETIVE)
    assert "CANARY" not in repr(shown)
    text = yaml.safe_dump(shown)
    assert text.count("***") == 12
    assert "https://hooks.slack.com/***" in text and "https://h:1/***" in text
    assert text.count("shown") == 2
    assert "http://***@proxy:3128" in text
    assert shown["keys"] == {
        "a": {
            "role": "member",
            "secret": "***",
            "secret_sha256": "",
            "models": [],
            "labels": {},
            "limits_add": [],
        },
        "b": {
            "role": "member",
            "secret": "",
            "secret_sha256": "***",
            "models": [],
            "labels": {},
            "limits_add": [],
        },
        "c": {
            "role": "member",
            "secret": "",
            "secret_sha256": "",
            "models": [],
            "labels": {},
            "limits_add": [],
        },
    }


def test_a_ledgers_password_is_masked_and_another_one_needs_a_restart() -> None:
    old, new = (
        Settings(ledger=LedgerSettings(url=f"postgresql://app:CANARY{n}@h/db?sslmode=require"))
        for n in range(2)
    )
    shown = masked(old)["ledger"]
    assert shown == {"url": "postgresql://app:***@h/db?sslmode=require", "key_file": "ledger.key"}
    assert what_needs_restart(old, new) == ("ledger.url",)
    assert "CANARY" not in repr(masked(new))


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    shipped = load(Path(__file__).parents[2] / "config.yaml", {}).settings
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(masked(shipped)))
    again = load(path, {})
    assert again.settings == shipped


CHANGES: list[tuple[dict[str, object], tuple[str, ...]]] = [
    ({}, ()),
    ({"support": "x", "upstreams": {}, "inflight_max": 5}, ()),
    ({"listen": "127.0.0.1:1"}, ("listen",)),
    (
        {"data_dir": Path("/x"), "timezone": "Asia/Shanghai", "currency": "CNY"},
        ("data_dir", "timezone", "currency"),
    ),
    (
        {"metrics": msgspec.structs.replace(Settings().metrics, max_series=5)},
        ("metrics.max_series",),
    ),
    (
        {"journal": msgspec.structs.replace(Settings().journal, sync="always", keep_s=0.0)},
        ("journal.sync", "journal.keep"),
    ),
    ({"log": LogSettings(format="json", requests="all")}, ("log.format",)),
    (
        {"timeouts": TimeoutSettings(header_s=1.0, keepalive_s=2.0, idle_s=3.0)},
        ("timeouts.header", "timeouts.keepalive"),
    ),
    ({"ledger": LedgerSettings(url="sqlite:x"), "listen": "127.0.0.1:1"}, ("listen", "ledger.url")),
    ({"ledger": LedgerSettings(url="postgresql://a:pw@h/d")}, ("ledger.url",)),
]


@pytest.mark.parametrize(
    ("changes", "expected"), CHANGES, ids=[str(index) for index in range(len(CHANGES))]
)
def test_what_a_reload_cannot_change_is_named_and_can_be_carried_over(
    changes: dict[str, object], expected: tuple[str, ...]
) -> None:
    old = Settings()
    new = msgspec.structs.replace(old, **changes)
    assert what_needs_restart(old, new) == expected
    running = carry_over(old, new)
    assert what_needs_restart(old, running) == ()
    changed_at_once = attrgetter(
        "support", "upstreams", "inflight_max", "privacy", "log.requests", "timeouts.idle_s"
    )
    assert changed_at_once(running) == changed_at_once(new)


def test_a_share_is_shown_as_it_was_written() -> None:
    dated = (DatedShare(rate="0.05"), DatedShare(rate="0.1", from_="2026-12-01"))
    teams = masked(
        Settings(teams={"a": TeamSettings(markup="0.05"), "b": TeamSettings(markup=dated)})
    )["teams"]
    assert isinstance(teams, dict)
    assert teams["a"]["markup"] == "0.05"
    assert teams["b"]["markup"] == [{"rate": "0.05"}, {"rate": "0.1", "from": "2026-12-01"}]
