"""The book is verified over the admin API a step at a time."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

from proxy.admin.verifying import PATH
from proxy.ledger.verification import PARTS
from tests.admin.test_books import shelf, some


async def test_each_part_is_read_to_its_end(tmp_path: Path) -> None:
    async with shelf(tmp_path) as shown:
        await shown.book(*some(1, 20))
        rows = dict.fromkeys(PARTS, 0)
        for part in PARTS:
            query: dict[str, str] | None = {"part": part}
            while query is not None:
                step = await shown.told(f"{PATH}?{urlencode(query)}")
                assert (step["found"], step["findings"], step["notes"]) == (0, [], [])
                rows[part] += step["rows"]
                query = None if step["next"] is None else {"part": part, "place": step["next"]}
        assert (rows["records"], rows["rollups"], rows["credits"]) == (20, 20, 0)


async def test_what_is_no_part_or_place_is_refused(tmp_path: Path) -> None:
    async with shelf(tmp_path) as shown:
        for query, param in (
            ({"part": "all"}, "part"),
            ({"part": "records", "place": "x"}, "place"),
            ({"part": "rollups", "place": "{}"}, "place"),
            ({"part": "indexes", "place": "99"}, "place"),
            ({"part": "indexes", "place": "-99"}, "place"),
        ):
            page = await shown.get(f"{PATH}?{urlencode(query)}")
            assert (page.status, json.loads(page.body)["error"]["param"]) == (400, param)
