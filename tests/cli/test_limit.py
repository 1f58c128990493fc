"""`tollkeeper limit`: the same answers from a running process and, without one, from the ledger;
credits that stay."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from proxy import ledger
from proxy.cli import main
from proxy.ledger import Batch, Refusal
from tests.dataplane.test_hold import PRICES, ask, post, stating
from tests.ledger.samples import START_MS, make_record
from tests.support.raw import raw_upstream
from tests.support.running import config, running

LIMITS = [
    "100 requests/month",
    {"limit": "20 tokens/total", "name": "trial"},
    "1 USD/month",
    "50 requests/minute",
    "4 concurrent",
]


def limited(url: str) -> dict[str, object]:
    return config(
        url,
        keys={"alice": {"team": "research", "secret": "sk-test", "limits": LIMITS}},
        prices=PRICES,
        timezone="Asia/Kolkata",
    )


async def called(*words: str) -> Result:
    """`tollkeeper WORDS`, as another process would call it."""
    return await asyncio.to_thread(CliRunner().invoke, main, list(words))


def listed(result: Result) -> dict[str, dict[str, object]]:
    assert result.exit_code == 0, result.output
    return {row["id"]: row for row in json.loads(result.stdout)}


async def test_limits_are_listed_fullest_first_with_a_process_and_without(tmp_path: Path) -> None:
    path = str(tmp_path / "config.yaml")
    async with raw_upstream(stating(10, 6)) as upstream:
        async with running(tmp_path, limited(upstream.url)) as proxy:
            await post(proxy, ask())
            await proxy.records(1)
            shown = listed(await called("limit", "list", "-c", path, "--json"))
            assert next(iter(shown)) == "trial" and shown["trial"]["taken"] == 0.8
            assert (
                shown["key:alice/USD/month"]["used"],
                shown["key:alice/USD/month"]["remaining"],
            ) == ("0.022", "0.978")
            assert str(shown["key:alice/USD/month"]["resets_at"]).endswith("T00:00:00+05:30")
            near = await called("limit", "list", "-c", path, "--near", "80%")
            assert (
                "trial" in near.stdout
                and "80 %" in near.stdout
                and "requests/month" not in near.stdout
            )
            assert (
                await called("limit", "list", "-c", path, "--near", "95%")
            ).stdout == "No limit is used to 95%.\n"
            assert (
                await called("limit", "list", "-c", path, "--near", "0.8")
            ).stdout == near.stdout
            assert (
                await called("limit", "list", "-c", path, "--near", "0.95")
            ).stdout == "No limit is used to 0.95.\n"
        without = listed(await called("limit", "list", "-c", path, "--json"))
        calendar = [id for id in shown if "minute" not in id]
        assert {id: without[id] for id in calendar} == {id: shown[id] for id in calendar}


async def test_a_team_s_and_a_key_s_limits_are_told_page_by_page(tmp_path: Path) -> None:
    path = str(tmp_path / "config.yaml")
    blocks = {
        "limits": ["9 USD/month"],
        "teams": {"research": {"limits": ["8 USD/month"]}, "ops": {"limits": ["7 USD/month"]}},
    }

    async def ids(*words: str) -> list[str]:
        return list(listed(await called("limit", "list", "-c", path, "--json", *words)))

    async def read() -> None:
        own = [f"key:alice/{limit}" for limit in ("USD/month", "concurrent", "requests/minute")]
        own += ["key:alice/requests/month", "trial"]
        shared = ["proxy/USD/month", "team:research/USD/month"]
        assert await ids("--team", "research") == shared
        assert sorted(await ids("--key", "alice")) == sorted([*own, *shared])
        assert await ids("--team", "lab") == ["proxy/USD/month", "team:lab/USD/month"]
        seen, more = [], ["--key", "alice"]
        while True:
            result = await called("limit", "list", "-c", path, "--json", "--limit", "3", *more)
            shown = [row["id"] for row in json.loads(result.stdout)]
            assert len(shown) <= 3
            seen += shown
            if not result.stderr:
                break
            assert result.stderr.startswith("There are more: --after ")
            more = ["--key", "alice", "--after", result.stderr.split()[-1]]
        assert seen == await ids("--key", "alice")
        for words, said in (
            (["--team", "reserch"], "the nearest is research"),
            (["--key", "alice", "--team", "ops"], "not for both"),
            (["--after", "x"], "the page before"),
        ):
            refused = await called("limit", "list", "-c", path, *words)
            assert refused.exit_code == 1 and said in refused.output

    async with running(tmp_path, limited("http://127.0.0.1:9/v1") | blocks):
        made = await called("team", "create", "lab", "-c", path, "--limit", "6 USD/month")
        assert made.exit_code == 0, made.output
        await read()
    await read()


async def test_a_credit_raises_a_limit_at_once_and_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "config.yaml")
    async with raw_upstream(stating(10, 10)) as upstream:
        async with running(tmp_path, limited(upstream.url)) as proxy:
            assert (await post(proxy, ask())).status == 200
            await proxy.records(1)
            assert (await post(proxy, ask())).status == 429
            done = await called("limit", "credit", "trial", "5", "-c", path, "--reason", "one more")
            assert (
                done.exit_code == 0
                and "Credited 5 tokens (id " in done.stdout
                and "5 credit" in done.stdout
            )
            assert (await post(proxy, ask())).status == 200
            await proxy.records(2)
        assert (
            await called(
                "limit",
                "credit",
                "key:alice/USD/month",
                "-c",
                path,
                "--until",
                "2099-01-01",
                "--reason",
                "r",
                "--",
                "0.25",
            )
        ).exit_code == 0, "without a process"
        async with running(tmp_path, limited(upstream.url)) as proxy:
            shown = listed(await called("limit", "list", "-c", path, "--json"))
            assert (shown["trial"]["granted"], shown["trial"]["used"]) == (5, 40)
            assert shown["key:alice/USD/month"]["granted"] == "0.25"
            booked = proxy.query(
                "SELECT limit_id, unit, amount, reason, granted_by, valid_until_ms IS NULL AS open FROM grants ORDER BY seq"
            )
            assert [tuple(row.values()) for row in booked] == [
                ("trial", "tokens", 5, "one more", getpass.getuser(), 1), ("key:alice/USD/month", "USD", 250_000_000, "r", "command line", 0),
            ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trail", "5", "--reason", "r"], "the nearest is trial"),
        (["trial", "5.5", "--reason", "r"], "whole number"),
        (
            ["trial", "five", "--reason", "r"],
            "is not one of tokens: write the number alone, such as 50",
        ),
        (["trial", "5 tokens", "--reason", "r"], "write the number alone"),
        (["trial", "0", "--reason", "r"], "changes nothing"),
        (["trial", "5", "--reason", " "], "needs a reason"),
        (["trial", "5", "--reason", "r", "--until", "2020-01-01"], "that is past"),
        (["trial", "5", "--reason", "r", "--until", "soon"], "until:"),
        (["key:alice/requests/minute", "5", "--reason", "r"], "takes no credit"),
        (["key:alice/concurrent", "5", "--reason", "r"], "takes no credit"),
    ],
)
async def test_a_credit_that_makes_no_sense_is_refused_and_nothing_is_booked(
    tmp_path: Path, words: list[str], said: str
) -> None:
    path = str(tmp_path / "config.yaml")
    async with running(tmp_path, limited("http://127.0.0.1:9/v1")) as proxy:
        refused = await called("limit", "credit", *words, "-c", path)
        assert refused.exit_code == 1 and said in refused.output, refused.output
        assert proxy.query("SELECT * FROM grants") == []
    assert said in (await called("limit", "credit", *words, "-c", path)).output


def test_without_a_ledger_there_is_nothing_to_count(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(limited("http://h/v1")))
    refused = CliRunner().invoke(main, ["limit", "list", "-c", str(path)])
    assert refused.exit_code == 1 and "no ledger" in refused.output


@pytest.mark.parametrize(
    ("near", "exit_code"), [("80%", 0), ("80", 0), ("x", 1), ("-5%", 1), ("99999%", 1)]
)
async def test_near_is_a_share(tmp_path: Path, near: str, exit_code: int) -> None:
    async with running(tmp_path, limited("http://127.0.0.1:9/v1")):
        assert (
            await called("limit", "list", "-c", str(tmp_path / "config.yaml"), f"--near={near}")
        ).exit_code == exit_code


def test_refusals_are_listed_by_key_and_reason(
    call: Callable[..., Result], book: Callable[..., Path]
) -> None:
    data_dir = book(make_record(1))
    bucket_ms = START_MS - START_MS % 900_000

    async def refuse() -> None:
        opened = await ledger.connect("sqlite:ledger.db", data_dir)
        await opened.book(
            Batch(
                "w0",
                refusals=[
                    Refusal(bucket_ms, "alice", "rate_limit_exceeded", 7),
                    Refusal(bucket_ms, "alice", "insufficient_quota", 3, "research", "soft-day"),
                    Refusal(bucket_ms, None, "invalid_api_key", 2),
                    Refusal(0, "alice", "rate_limit_exceeded", 1),
                ],
            )
        )
        await opened.aclose()

    asyncio.run(refuse())
    rows = json.loads(call("limit", "refusals", "--json").stdout)
    assert [tuple(row.values()) for row in rows] == [
        ("alice", None, "rate_limit_exceeded", None, 8, 0, bucket_ms),
        ("alice", "research", "insufficient_quota", "soft-day", 3, bucket_ms, bucket_ms),
        (None, None, "invalid_api_key", None, 2, bucket_ms, bucket_ms),
    ]
    shown = call("limit", "refusals", "--from", "2026-01-01").stdout.splitlines()
    assert shown[1].split() == "key team code limit refusals last quarter hour".split()
    assert "alice  research  insufficient_quota" in shown[3] and "soft-day" in shown[3]
    of_team = call("limit", "refusals", "--team", "research").stdout.splitlines()
    assert of_team[0].startswith("Refusals of the team research of all time")
    assert len(of_team) == 3 and "soft-day" in of_team[2]
    assert len(json.loads(call("limit", "refusals", "--key", "alice", "--json").stdout)) == 2
    none = call("limit", "refusals", "--team", "research", "--key", "bob").stdout
    assert none.startswith("No refusals of the team research of the key bob of all time")
    assert json.loads(call("limit", "refusals", "--from", "2030-01-01", "--json").stdout) == []
    none = call("limit", "refusals", "--from", "2030-01-01").stdout
    assert none.startswith("No refusals from 2030-01-01") and none.count("\n") == 1
