"""Every reading command says the same here and from elsewhere, over the admin API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from proxy.admin import limits
from proxy.cli import admin_client, main
from tests.admin.test_tenants import Desk, desk
from tests.dataplane.test_hold import PRICES
from tests.support.running import KEY
from tests.support.waiting import until

ADMIN, VIEWER = "adm-5Tq8WzL2xVb7NcK4", "vwr-9Hd3RfY6mPj1GsQ8"
BLOCKS = {
    "admin": {
        "listen": "127.0.0.1:0",
        "tokens": {
            "ops": {"token": ADMIN, "role": "admin"},
            "board": {"token": VIEWER, "role": "viewer"},
        },
    },
    "timezone": "Asia/Shanghai",
    "prices": PRICES,
    "limits": ["100 requests/month"],
    "teams": {"research": {"labels": {"cost_center": "4711", "=1+1": 'ü "x"'}}},
}
READS = [
    "usage",
    "usage --by ''",
    "usage --by day,label:cost_center --from 2026-01-01",
    "usage --format csv",
    "usage --by day --zone America/New_York",
    "usage --original --by upstream",
    "usage --json --month 2020-01",
    "usage --by tag:feature,month --team research",
    "usage --team nobody",
    "usage --json --through 2",
    "usage --json --key alice",
    "usage --key nobody",
    "record show {id}",
    "record show {id} --json",
    "record show 01939c1e-8f5b-7c6a-9d2e-3f4a5b6c7d8e",
    "ledger export",
    "ledger export --format jsonl",
    "ledger export --after 1 --through 2",
    "ledger export --from 2020-01-01 --to 2020-02-01",
    "ledger export --through 99",
    "ledger status",
    "ledger status --json",
    "ledger verify",
    "ledger anchor",
    "record proof {id}",
    "record proof 01939c1e-8f5b-7c6a-9d2e-3f4a5b6c7d8e",
    "statement list",
    "statement show 2026-12 --format csv",
    "statement show 2026-12 --format csv --team research",
    "limit list",
    "limit list --json",
    "limit list --team research",
    "limit list --team nobody",
    "limit list --key bob --json",
    "limit list --limit 1",
    "limit list --limit 1 --after WzAsIiIsIiJd --json",
    "limit list --after nonsense",
    "limit credits",
    "limit credits --json",
    "limit credits proxy/requests/month --limit 1",
    "limit credits nobody",
    "limit refusals",
    "limit refusals --json",
    "audit list",
    "audit list --json",
    "audit verify",
    "price list",
    "price list --json",
    "price list --upstream nobody",
    "price show m-1 --at 2026-11-01",
    "price show m-1 --at 2026-11-01 --team research --json",
    "price show m-1 --team nobody",
    "key list",
    "key list --json",
    "key show alice",
    "key show nobody",
    "team list",
    "team show research --json",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Desk, Path]]:
    """A process with records, refusals and changes."""
    directory = tmp_path_factory.mktemp("served")
    async with desk(directory, **BLOCKS) as admin:
        bob = await admin.make("bob", team="research", models=["gpt-*"])
        for _ in range(3):
            assert await admin.call(KEY) == (200, "")
        assert (await admin.call(bob))[0] == 403
        await admin.proxy.records(3)
        await admin.ask("POST", "/admin/v1/keys/bob/suspend", {"reason": "why not"})
        assert (await admin.call(bob))[0] == 401
        for reason in ("fair", "fair again"):
            order = {"amount": "5", "reason": reason}
            path = limits.credit_path("proxy/requests/month")
            await admin.ask("POST", path, order, type=limits.CreditAnswer)
        services = admin.proxy.server.services
        await until(lambda: sum(row.count for row in services.reader.refusals(None, None)) == 2)
        yield admin, directory


async def both(served: tuple[Desk, Path], words: str, token: str) -> tuple[Result, Result]:
    import shlex

    admin, directory = served
    id = str(admin.proxy.rows()[0]["id"])
    given = shlex.split(words.format(id=id))
    environ = {
        admin_client.URL: f"http://{admin.proxy.server.addresses.admin}",
        admin_client.TOKEN: token,
    }
    config = ["-c", str(directory / "config.yaml")]

    def run(*more: str, **env: str) -> Result:
        return CliRunner().invoke(main, [*given, *more], env=env, prog_name="tollkeeper")

    here = await asyncio.to_thread(run, *config)
    elsewhere = await asyncio.to_thread(run, **environ)
    return here, elsewhere


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("words", READS)
async def test_a_command_says_the_same_here_and_from_elsewhere(
    served: tuple[Desk, Path], words: str
) -> None:
    here, elsewhere = await both(served, words, VIEWER)
    assert elsewhere.exit_code == here.exit_code, elsewhere.output
    if here.exit_code == 0:
        assert elsewhere.stdout_bytes == here.stdout_bytes
        assert elsewhere.stderr == here.stderr
        assert here.stdout
    else:
        assert here.exit_code in (1, 2) and elsewhere.stderr


@pytest.mark.asyncio(loop_scope="module")
async def test_an_export_has_every_record_and_label(served: tuple[Desk, Path]) -> None:
    _, elsewhere = await both(served, "ledger export", ADMIN)
    lines = elsewhere.stdout.splitlines()
    assert len(lines) == 4 and "label:cost_center" in lines[0]


@pytest.mark.asyncio(loop_scope="module")
async def test_credits_say_what_was_given_by_whom_and_why(served: tuple[Desk, Path]) -> None:
    for result in await both(served, "limit credits proxy/requests/month", VIEWER):
        _, newest, first = [line.split("  ") for line in result.stdout.splitlines()]
        assert [cell.strip() for cell in newest if cell.strip()][1:4] == [
            "proxy/requests/month",
            "5 requests",
            "its period",
        ]
        assert newest[-1] == "fair again" and first[-1] == "fair"
    for result in await both(served, "limit credits nobody", VIEWER):
        assert result.stdout == "No credits.\n"
    for result in await both(served, "limit credits --limit 1", VIEWER):
        assert "There are more: --after " in result.stderr and "fair again" in result.stdout
        after = result.stderr.split()[-1]
    for result in await both(served, f"limit credits --after {after}", VIEWER):
        assert "fair" in result.stdout and "fair again" not in result.stdout


@pytest.mark.asyncio(loop_scope="module")
async def test_a_wrong_token_is_told(served: tuple[Desk, Path]) -> None:
    for words in ("usage", "ledger export", "price list", "audit verify"):
        _, elsewhere = await both(served, words, "wrong")
        assert elsewhere.exit_code == 1 and "does not know the token" in elsewhere.output


def test_without_a_config_file_the_variables_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOLLKEEPER_CONFIG", raising=False)
    for words in ("usage", "key list", "price list", "audit verify", "reload", "limit refusals"):
        result = CliRunner().invoke(main, words.split())
        assert result.exit_code == 1
        assert admin_client.URL in result.output and admin_client.TOKEN in result.output, words
