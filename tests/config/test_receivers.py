"""Mistakes in `notify` and `smtp`, each with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from proxy.config.loader import ConfigError, load

SECRET = "whsec_" + "A" * 44
SMTP = {"host": "mail.example.com", "from": "tollkeeper@example.com"}
URL = "https://hooks.example.com/CANARY"


def a_config(tmp_path: Path, *notify: object, team: object = None, **blocks: object) -> Path:
    path = tmp_path / "config.yaml"
    said = {
        "upstreams": {
            "v": {"base_url": "http://127.0.0.1:1/v1", "api_key": "sk-vendor-1234567890"}
        },
        "routes": [{"model": "*", "upstream": "v"}],
        "keys": {"alice": {"secret": "sk-tk-Zq81LmW0pXv7sTgh42Kd"}},
        "notify": list(notify),
        **({} if team is None else {"teams": {"research": {"notify": [team]}}}),
        **blocks,
    }
    path.write_text(yaml.safe_dump(said))
    return path


def faults(path: Path) -> list[str]:
    try:
        load(path, {})
    except ConfigError as error:
        assert "CANARY" not in str(error)
        return [message.partition(": ")[2] for message in error.messages]
    return []


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"url": URL}, None),
        ({"url": URL, "format": "slack", "events": ["limit_near"]}, None),
        ({"url": URL, "secret": SECRET}, None),
        ({"mail": ["ops@example.com", "b@example.com"]}, None),
        ({}, "notify[0]: say either url, for a webhook, or mail"),
        ({"url": URL, "mail": ["ops@example.com"]}, "notify[0]: say either url"),
        ({"url": "http://hooks.example.com/CANARY"}, "notify[0].url: expected https://"),
        ({"url": "https://u:CANARY@h/"}, "notify[0].url: expected https://"),
        ({"url": URL, "events": []}, "notify[0].events: an empty list tells nothing"),
        ({"url": URL, "events": ["limit_reach"]}, "the nearest possible value is limit_reached"),
        ({"url": URL, "events": "limit_near"}, "notify[0].events: expected a list"),
        ({"url": URL, "secret": "CANARY-not-base-64-at-all"}, "notify[0].secret: expected whsec_"),
        ({"url": URL, "secret": "whsec_QUJD"}, "24 to 64 random bytes"),
        ({"url": URL, "format": "slack", "secret": SECRET}, "secret: signs generic messages alone"),
        ({"url": URL, "format": "discord"}, "possible: generic, slack, teams"),
        ({"mail": ["ops"]}, "notify[0].mail[0]: expected an address"),
        ({"url": URL, "proxy": "http://u:CANARY@proxy:3128"}, None),
        ({"url": URL, "proxy": "socks5://CANARY:1"}, "notify[0].proxy: expected http://"),
        ({"mail": ["ops@example.com"], "proxy": "http://p:1"}, "proxy: is for webhooks alone"),
        ({"url": URL, "name": "a b"}, "notify[0].name: expected a name"),
        ({"webhook_url": URL}, "notify[0].webhook_url: unknown key; the nearest known one is url"),
    ],
)
def test_a_receiver(tmp_path: Path, entry: dict[str, object], expected: str | None) -> None:
    found = faults(a_config(tmp_path, entry, smtp=SMTP))
    assert (found == []) if expected is None else any(expected in one for one in found), found


def test_mail_needs_a_server_and_a_sender(tmp_path: Path) -> None:
    found = faults(a_config(tmp_path, {"mail": ["ops@example.com"]}))
    assert [one.split(",")[0] for one in found] == [
        "notify[0].mail: needs a mail server: add smtp.host",
        "notify[0].mail: needs a mail server: add smtp.from",
    ]


@pytest.mark.parametrize(
    ("smtp", "expected"),
    [
        ({"user": "u", "password": "CANARY"}, None),
        ({"user": "u", "password": "CANARY", "tls": "implicit", "port": 465}, None),
        ({"host": "127.0.0.1", "user": "u", "password": "CANARY", "tls": "none"}, None),
        ({"user": "u", "password": "CANARY", "tls": "none"}, "smtp.tls: none would send the pass"),
        ({"password": "CANARY"}, "smtp.user: missing beside the password"),
        ({"tls": "ssl"}, "smtp.tls: found 'ssl'"),
        ({"port": 70000}, "smtp.port: must be at most 65535"),
    ],
)
def test_a_mail_server(tmp_path: Path, smtp: dict[str, object], expected: str | None) -> None:
    path = a_config(tmp_path, {"mail": ["ops@example.com"]}, smtp=SMTP | smtp)
    found = faults(path)
    assert (found == []) if expected is None else any(expected in one for one in found), found


def test_a_team_is_told_of_what_is_its_own(tmp_path: Path) -> None:
    assert faults(a_config(tmp_path, team={"url": URL, "events": ["key_expiring"]})) == []
    [fault] = faults(a_config(tmp_path, team={"url": URL, "events": ["ledger_behind"]}))
    assert fault.startswith("teams.research.notify[0].events[0]: ledger_behind concerns no single")


def test_a_name_stands_for_one_receiver(tmp_path: Path) -> None:
    [fault] = faults(
        a_config(tmp_path, {"url": URL, "name": "ops"}, team={"url": URL, "name": "ops"})
    )
    assert "teams.research.notify[0].name: is also the name of notify[0]" in fault


def test_a_url_can_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(URL + "\n")
    assert load(a_config(tmp_path, {"url_file": "hook"}), {}).settings.notify[0].url == URL
    (tmp_path / "hook").write_text("CANARY")
    [fault] = faults(a_config(tmp_path, {"url_file": "hook"}))
    assert "notify[0].url_file: in the file: expected https://" in fault


def test_what_is_hardly_meant_is_told(tmp_path: Path) -> None:
    loaded = load(
        a_config(
            tmp_path,
            {"url": "https://hooks.slack.com/services/CANARY", "secret": SECRET},
            {"url": "https://x.webhook.office.com/CANARY", "format": "teams"},
            {"url": "https://prod.westeurope.logic.azure.com/CANARY", "format": "slack"},
            {"url": URL},
            {"url": "${SLACK_WEBHOOK:-}", "format": "slack"},
        ),
        {},
    )
    told = [one for one in loaded.warnings if "notify" in one]
    assert "CANARY" not in "".join(told)
    assert told == [
        "notify[0] goes to hooks.slack.com, which takes format: slack",
        "notify[1] is a connector of Teams, which Microsoft has ended: make a webhook with the"
        " Workflows app",
        "notify[2] goes to prod.westeurope.logic.azure.com, which takes format: teams",
        "notify[3] has no secret: its receiver cannot tell that a message is from here",
        "notify[4].url is empty: nobody is told by it",
    ]


@pytest.mark.parametrize("warn_at", [[], ["80%"]])
def test_a_share_that_no_limit_warns_at_is_told(tmp_path: Path, warn_at: list[str]) -> None:
    limit = {"limit": "9 tokens/day", "warn_at": warn_at}
    said = a_config(
        tmp_path, {"mail": ["a@b.c"], "events": ["limit_near"]}, smtp=SMTP, limits=[limit]
    )
    told = [one for one in load(said, {}).warnings if "no limit has any" in one]
    assert len(told) == (not warn_at)
