"""Prices in effect and of a version, where they are from, and what to look at."""

from __future__ import annotations

import re
from pathlib import Path

from tests.admin.pages.office import office, rewrite_admin, signed_in
from tests.dataplane.endpoints.test_team_usage import BLOCKS, KEYS

PRICES = [
    {"model": f"m-{n}", "input": f"{n}.5", "output": "2000", "from": "2026-01-01"}
    for n in range(1, 130)
]
MORE = {
    "prices": PRICES,
    "fx": {"CNY": [{"rate": "0.14", "from": "2026-01-01"}]},
    "teams": {**BLOCKS["teams"], "lab": {"markup": "0.05"}},
}


async def test_rows_are_searched_and_have_pages(tmp_path: Path) -> None:
    async with office(tmp_path, **MORE) as admin, signed_in(admin) as one:
        _, text, _ = await one.get("/ui/prices")
        assert "129 rows" in text and "config" in text and "2026-01-01" in text
        assert "exchange rate CNY" in text and "markup lab" in text and "0.05" in text
        more = re.search(r'<a href="([^"]+)">More</a>', text)
        assert more is not None
        _, rest, _ = await one.get(more[1].replace("&amp;", "&"))
        both = text + rest
        rows = re.findall(r'<a href="/ui/prices/[^"]+row=(\d+)"><bdi>(m-\d+)', both)
        assert len(set(rows)) == len(rows) == 129
        place = next(place for place, model in rows if model == "m-77")
        _, found, _ = await one.get("/ui/prices?search=M-77&upstream=&form=1")
        assert re.findall(r"row=(\d+)\"><bdi>(m-\d+)", found) == [(place, "m-77")]
        _, row, _ = await one.get(f"/ui/prices?row={place}")
        assert "<bdi>77.5</bdi>" in row and "<bdi>config</bdi>" in row
        assert "There is no such row" in (await one.get("/ui/prices?row=9999"))[1]
        assert (await one.get("/ui/prices/no-such-version"))[0] == 404


async def test_models_in_use_without_a_price_are_told(tmp_path: Path) -> None:
    async with office(tmp_path, prices=[]) as admin, signed_in(admin) as one:
        _, text, _ = await one.get("/ui/prices")
        assert f"m-1 at mock: {len(KEYS)} requests in 30 days, and no row gives it a price" in text


async def test_a_version_of_before_is_still_shown(tmp_path: Path) -> None:
    async with office(tmp_path, **MORE) as admin, signed_in(admin) as one:
        version = str(admin.proxy.rows()[0]["price_version"])
        _, text, _ = await one.get(f"/ui/prices/{version}")
        assert "in effect" in text
        await rewrite_admin(admin, BLOCKS["admin"]["tokens"])
        path = admin.proxy.data_dir.parent / "config.yaml"
        path.write_text(path.read_text().replace("77.5", "78.5"))
        await rewrite_admin(admin, BLOCKS["admin"]["tokens"])
        _, text, _ = await one.get(f"/ui/prices/{version}?search=m-77")
        assert "in effect" not in text and "77.5" in text
        assert "78.5" in (await one.get("/ui/prices?search=m-77"))[1]
