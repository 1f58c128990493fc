"""Rerating through the running process: the prices in effect, the traffic beside it, and the
budgets that hear of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from proxy.accounting.rerating import Rerate, Rerated
from proxy.admin.auth import Asker
from proxy.admin.control_socket import NAME
from proxy.admin.endpoint import AdminRequest
from proxy.admin.prices import RERATE_PATH, rerate_route
from proxy.cli import admin_client, main
from proxy.cli.common import Failed
from proxy.ledger import connect_reader
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import KEY, Running, config, running

ASK = b'{"model":"m-1","messages":[]}'
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}}'
DEAR, CHEAP = ([{"model": "m-*", "input": rate, "output": rate}] for rate in ("1", "0.5"))
COST = 120_000  # nano-dollars of a request by the dear ones


async def answering(visit: Visit) -> None:
    await visit.answer(ANSWER)


async def ask(proxy: Running, count: int = 1) -> None:
    for _ in range(count):
        client = await RawClient.connect(proxy.address)
        await client.post(ASK, key=KEY)
        assert (await client.answer()).status == 200
        await client.aclose()


async def rerated(proxy: Running, **fields: Any) -> Rerated:
    process = admin_client.running(proxy.data_dir, {})
    assert process is not None
    return await asyncio.to_thread(
        admin_client.ask, process, "POST", RERATE_PATH, {"dry_run": False} | fields, type=Rerated
    )


async def called(*words: str) -> Result:
    """`tollkeeper WORDS`, as another process would call it."""
    return await asyncio.to_thread(CliRunner().invoke, main, list(words))


async def reload(proxy: Running, directory: Path, settings: dict[str, object]) -> None:
    (directory / "config.yaml").write_text(yaml.safe_dump(settings))
    await proxy.server.reload()


async def test_after_a_reload_the_new_prices_are_those_of_the_whole_period(tmp_path: Path) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url, prices=DEAR)) as proxy,
    ):
        await ask(proxy, 3)
        await proxy.records(3)
        path = str(tmp_path / "config.yaml")
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(upstream.url, prices=CHEAP)))
        stale = await called("price", "rerate", "-c", path, "--from", "2020-01-01", "--yes")
        assert (stale.exit_code, "reload the config" in stale.stderr, len(proxy.rows())) == (
            1,
            True,
            3,
        ), stale.output
        await proxy.server.reload()
        done = await called("price", "rerate", "-c", path, "--from", "2020-01-01", "--yes")
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "adjusted: 3, unchanged: 0"), (
            done.output
        )
        [usage] = connect_reader("sqlite:ledger.db", proxy.data_dir).usage(
            [], None, None, proxy.server.snapshot.zone
        )
        assert (usage["requests"], usage["cost_nano"], usage["charge_nano"]) == (
            3,
            3 * COST // 2,
            3 * COST // 2,
        )
        terms = {row["version"] for row in proxy.query("SELECT version FROM price_versions")}
        assert {row["price_version"] for row in proxy.rows()} == terms, (
            "both prices can be looked up"
        )


async def test_a_team_and_a_vendor_that_left_keep_their_terms(tmp_path: Path) -> None:
    """Through the process: the month stays as it was booked, and a price that was wrong is
    corrected by them."""
    async with raw_upstream(answering) as upstream:

        def settings(
            vendor: str, team: str, markup: str, prices: list[dict[str, str]]
        ) -> dict[str, object]:
            vendors = {
                vendor: {
                    "base_url": upstream.url,
                    "api_key": "k",
                    "discount": "0.1" if vendor == "mock" else "0",
                }
            }
            return config(
                upstream.url, prices=prices, upstreams=vendors, routes=[{"model": "*", "upstream": vendor}],
                teams={team: {"markup": markup}}, keys={"alice": {"team": team, "secret": KEY}},
            )  # fmt: skip

        async with running(tmp_path, settings("mock", "research", "0.05", DEAR)) as proxy:
            await ask(proxy, 2)
            await proxy.records(2)
            await reload(proxy, tmp_path, settings("other", "ops", "0.5", DEAR))
            await ask(proxy)
            await proxy.records(3)
            found = await rerated(proxy)
            assert (found.verdicts["unchanged"], found.changes, found.kept["earlier_terms"]) == (
                3,
                [],
                2,
            )
            await reload(proxy, tmp_path, settings("other", "ops", "0.7", CHEAP))
            found = await rerated(proxy, reason="list of November")
            half = COST // 2
            assert {change.team: (change.cost_nano, change.charge_nano) for change in found.changes} == {
                "research": (-2 * half * 9 // 10, -2 * half * 9 // 10 * 105 // 100), "ops": (-half, -half * 3 // 2),
            }  # fmt: skip
            assert {row["reason"] for row in proxy.rows()} == {None, "rerate: list of November"}
            assert (await rerated(proxy)).changes == []


async def test_a_rerating_gives_budget_back_and_takes_it(tmp_path: Path) -> None:
    limits = [{"limit": "0.00036 USD/month", "name": "tight"}]  # three requests of the dear ones
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url, prices=DEAR, limits=limits)) as proxy,
    ):
        await ask(proxy, 3)
        await proxy.records(3)

        async def used() -> int:
            [state] = await proxy.server.services.quota.states(
                proxy.server.snapshot.rules.limits_for("alice", "research", "mock", "m-1"),
                proxy.server.services.now_ms(),
            )
            return state.used

        assert await used() == 3 * COST
        await reload(proxy, tmp_path, config(upstream.url, prices=CHEAP, limits=limits))
        assert (await rerated(proxy, dry_run=True)).verdicts["adjusted"] == 3
        assert await used() == 3 * COST, "a dry run gives nothing"
        await rerated(proxy)
        assert await used() == 3 * COST // 2
        await rerated(proxy)
        assert await used() == 3 * COST // 2
        await reload(proxy, tmp_path, config(upstream.url, prices=DEAR, limits=limits))
        await rerated(proxy)
        assert await used() == 3 * COST


async def test_requests_are_served_and_booked_meanwhile(tmp_path: Path) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
    ):
        await ask(proxy, 20)
        await proxy.records(20)
        await reload(proxy, tmp_path, config(upstream.url, prices=DEAR))
        await asyncio.gather(ask(proxy, 10), rerated(proxy), rerated(proxy), ask(proxy, 10))
        await proxy.records(60)
        assert [
            row["cost_nano"]
            for row in proxy.query("SELECT sum(cost_nano) AS cost_nano FROM records")
        ] == [40 * COST]


async def test_the_prices_are_those_in_effect_when_its_turn_comes(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1", prices=DEAR)) as proxy:
        snapshots = [proxy.server.snapshot]
        await reload(proxy, tmp_path, config("http://127.0.0.1:9/v1", prices=CHEAP))
        route = rerate_route(proxy.server.services, lambda: snapshots[-1])
        asked = AdminRequest(Asker("socket", "admin"), body=Rerate(dry_run=True))
        first, second = (asyncio.ensure_future(route.answer(asked)) for _ in range(2))
        await asyncio.sleep(0)  # the first is at work, the second waits
        snapshots.append(proxy.server.snapshot)
        assert [done.price_version for done in (await first, await second)] == [
            snapshot.prices.version for snapshot in snapshots
        ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"dry_run": None}, r"dry_run.*invalid_request"),
        ({"from": "x"}, r"`from` 'x' is no date.*invalid_request"),
        ({"frm": "2026-11-01"}, r"frm.*invalid_request"),
        ({"price_version": "0" * 16}, r"not 0000000000000000.*prices_changed"),
    ],
)
async def test_what_cannot_be_done_as_asked_is_refused(
    tmp_path: Path, body: dict[str, Any], message: str
) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        with pytest.raises(Failed, match=message):
            await rerated(proxy, **body)


async def test_a_ledger_that_cannot_be_used_now_is_a_reason_to_wait(tmp_path: Path) -> None:
    """Transactions: the prices of the start, the record, the prices of the reload; then the
    rerating's."""
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url), failpoints="ledger.book.before=raise@4") as proxy,
    ):
        await ask(proxy)
        await proxy.records(1)
        await reload(proxy, tmp_path, config(upstream.url, prices=DEAR))
        assert await proxy.server.services.recorder.drain(10)
        with pytest.raises(Failed, match=r"books the rest.*ledger_unavailable"):
            await rerated(proxy)
        assert (await rerated(proxy)).verdicts["adjusted"] == 1


async def test_the_socket_is_the_way_in(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        assert (proxy.data_dir / NAME).is_socket()
    assert not (proxy.data_dir / NAME).exists()
