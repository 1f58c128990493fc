"""`tollkeeper notify`: who is told, without a secret, and a message to try it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from standardwebhooks.webhooks import Webhook

from proxy.cli import main
from tests.cli.test_desk import called
from tests.notify.mail_server import mail_server
from tests.notify.receiver import hook
from tests.support.running import config

SECRET = "whsec_" + "QUJD" * 11


def write(directory: Path, *notify: object, **blocks: object) -> None:
    said = config("http://127.0.0.1:9/v1", notify=list(notify), **blocks)
    (directory / "config.yaml").write_text(yaml.safe_dump(said))


def listed(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(
        main, ["notify", "list", "-c", str(directory / "config.yaml"), *words]
    )


async def test_each_receiver_gets_a_test_message(tmp_path: Path) -> None:
    async with hook() as one, hook() as chat, mail_server() as box:
        write(
            tmp_path,
            {"url": one.url, "secret": SECRET, "name": "ops"},
            {"url": chat.url, "format": "slack"},
            {"mail": ["lead@example.com"]},
            smtp={"host": "localhost", "port": box.port, "tls": "none", "from": "tk@example.com"},
        )
        result = await called(tmp_path, "notify", "test")
        assert result.exit_code == 0, result.output
        assert "ops (127.0.0.1:" in result.output and "CANARY" not in result.output
        assert result.output.count(": taken, ") == 3
        [came] = one.posts
        assert Webhook(SECRET).verify(came.body.decode(), came.headers)["type"] == "test"
        assert "This is a test: notices for notify[1] arrive here." in str(
            chat.posts[0].json["text"]
        )
        assert b"notify[2] arrive here" in (box.envelopes[0].content or b"")


async def test_one_that_does_not_take_it_is_told_and_ends_with_1(tmp_path: Path) -> None:
    async with hook() as good, hook() as bad:
        bad.status = 404
        write(tmp_path, {"url": good.url, "name": "good"}, {"url": bad.url, "name": "bad"})
        result = await called(tmp_path, "notify", "test")
        assert result.exit_code == 1
        assert "good (127.0.0.1:" in result.output and "NOT TAKEN, HTTP 404: ok" in result.output
        assert (await called(tmp_path, "notify", "test", "good", "good")).exit_code == 0
        assert (len(good.posts), len(bad.posts)) == (2, 1)


async def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, {"url": "http://127.0.0.1:9/CANARY", "name": "ops"})
    result = await called(tmp_path, "notify", "test", "opps")
    assert (
        result.exit_code == 1
        and "There is no receiver 'opps'; the nearest is ops." in result.output
    )


def test_the_list_shows_hosts_and_no_secret(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"url": "https://hooks.slack.com/services/CANARY", "format": "slack"},
        teams={
            "research": {"notify": [{"url": "http://10.0.0.9:9/CANARY", "events": ["limit_near"]}]}
        },
    )
    assert "hooks.slack.com" in listed(tmp_path).output
    output = listed(tmp_path, "--json").output
    assert "CANARY" not in output + listed(tmp_path).output
    rows = json.loads(output)
    assert [(row["name"], row["team"], row["format"], row["to"]) for row in rows] == [
        ("notify[0]", None, "slack", "hooks.slack.com"),
        ("teams.research.notify[0]", "research", "generic", "10.0.0.9:9"),
    ]
    assert rows[1]["events"] == ["limit_near"] and len(rows[0]["events"]) == 6


def test_without_a_receiver_it_says_how_to_add_one(tmp_path: Path) -> None:
    write(tmp_path)
    result = listed(tmp_path)
    assert result.exit_code == 1 and "add an entry to `notify`" in result.output


def test_a_command_that_asks_no_process_says_so_where_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"url": "http://127.0.0.1:9/x", "name": "ops"})
    monkeypatch.delenv("TOLLKEEPER_ADMIN_URL", raising=False)
    path = str(tmp_path / "config.yaml")
    said = f"Read from {path} here: TOLLKEEPER_ADMIN_URL is set"
    for words in (("notify", "list"), ("price", "check"), ("check",)):
        run = CliRunner()
        assert said not in run.invoke(main, [*words, "-c", path]).stderr
        named = {"TOLLKEEPER_ADMIN_URL": "http://127.0.0.1:9"}
        assert said in run.invoke(main, [*words, "-c", path], env=named).stderr, words
