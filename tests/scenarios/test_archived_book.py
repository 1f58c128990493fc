"""Whatever is asked of a proxy whose old months are archived, nothing is a fault, and nothing leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from tests.accounting.archiving.years import old_ledger
from tests.admin.pages.office import PAGES as ADMIN_PAGES
from tests.admin.pages.office import signed_in
from tests.admin.test_tenants import Desk, desk
from tests.cli.test_desk import called
from tests.cli.test_ledger_archive import ARCHIVE, FORCE
from tests.dataplane.endpoints.test_team_usage import ADMIN, BLOCKS
from tests.dataplane.pages.visitor import PAGES, visitor

SECRETS = {"k0": "vk-k0-3Qm9ZtW8rLx2PbNc7HsD", "k1": "vk-k1-7Yk2RnV5qJd8XfGb4TwM"}
SETTINGS: dict[str, Any] = BLOCKS | {
    "pages": {"admin": True, "team": True},
    "keys": {
        "k0": {"team": "research", "role": "lead", "secret": SECRETS["k0"]},
        "k1": {"team": "research", "secret": SECRETS["k1"]},
    },
}
OF_KEYS = ("", "/team", "/keys", "/refusals", "/records", "/records?limit=2", "/records/x")
OF_ADMINS = (
    *("usage", "usage?by=end_user", "usage?by=month,team", "records", "records?after=10"),
    *("export?format=csv", "export?format=csv&after=10", "labels", "refusals", "credits"),
    *("ledger", "ledger/anchor", "limits", "audit", "statements", "records/x", "records/x/proof"),
)


async def archived(tmp_path: Path) -> None:
    """A data directory with a ledger of January to March, of which two months are in files."""
    async with desk(tmp_path):
        pass
    for path in (tmp_path / "var").glob("ledger.*"):
        path.unlink()
    old_ledger(tmp_path / "var")
    (tmp_path / "archive").mkdir()
    words = (*ARCHIVE[:-1], str(tmp_path / "archive"), *FORCE, "--yes")
    assert (await called(tmp_path, *words)).exit_code == 0


async def asked(session: aiohttp.ClientSession, url: str, credential: str) -> tuple[int, str]:
    async with session.get(url, headers={"Authorization": f"Bearer {credential}"}) as response:
        return response.status, await response.text()


async def test_a_key_is_told_what_to_ask_and_neither_files_nor_places(tmp_path: Path) -> None:
    """Clients would ask a 503 again, and for ever."""
    await archived(tmp_path)
    async with desk(tmp_path, **SETTINGS) as admin, aiohttp.ClientSession() as session:
        for secret in SECRETS.values():
            for path in OF_KEYS:
                status, text = await asked(session, f"{admin.proxy.base_url}/usage{path}", secret)
                assert status < 500, (path, text)
                assert ".parquet" not in text and "seq" not in text, (path, text)
            url = f"{admin.proxy.base_url}/usage/records"
            status, text = await asked(session, url, secret)
            last = "2026-02-10T00:00:00+00:00"
            assert status == 400 and f"started after {last}, with `from`" in text
            status, text = await asked(session, f"{url}?from=2026-02-10T00:00:01Z", secret)
            assert status == 200 and '"id"' in text
            async with visitor(admin) as one:
                assert (await one.sign_in(secret))[0] == 303
                for path in PAGES:
                    status, text, _ = await one.get(path)
                    assert status == 200, (path, text)
                    assert ".parquet" not in text, path


async def test_an_administrator_is_told_the_files(tmp_path: Path) -> None:
    await archived(tmp_path)
    async with desk(tmp_path, **SETTINGS) as admin, aiohttp.ClientSession() as session:
        url = f"http://{admin.proxy.server.addresses.admin}/admin/v1"
        told = [await asked(session, f"{url}/{path}", ADMIN) for path in OF_ADMINS]
        for path, (status, text) in zip(OF_ADMINS, told, strict=True):
            assert status in (200, 400, 404), (path, text)
            assert (status == 400) == (", or read ledger-2026-01.parquet" in text), (path, text)
        assert sum(status == 400 for status, _ in told) == 4, told
        await pages_of_an_administrator(admin)


async def pages_of_an_administrator(admin: Desk) -> None:
    more = ("/ui/records?month=2026-02", "/ui/use?month=2026-02", "/ui/use?month=2026-02&by=day")
    async with signed_in(admin) as one:
        for path in (*ADMIN_PAGES, *more):
            status, text, _ = await one.get(path)
            assert status < 500, (path, text)
