"""The same question goes to the ledger once at a time, and a failed one is asked again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.dataplane.endpoints import sums as sums_module
from proxy.dataplane.endpoints.sums import Sums
from tests.dataplane.endpoints.test_team_usage import office


async def test_a_question_is_asked_once_and_each_other_one_by_itself(tmp_path: Path) -> None:
    async with office(tmp_path) as one:
        server = one.admin.proxy.server
        sums = Sums(server.services.reader)
        zone = server.snapshot.zone
        same = await asyncio.gather(*(sums.of(("key",), zone, 0) for _ in range(5)))
        assert all(rows is same[0] for rows in same)
        assert {row["key"] for row in same[0]} == set(one_team("research", "lab", None))
        lab = await sums.of(("key",), zone, 0, None, "lab")
        assert {row["key"] for row in lab} == {"carol", "dave"}
        assert await sums.of(("key",), zone, 0, 1) == []
        dave = await sums.of(("team", "key"), zone, 0, key="dave")
        assert [(row["team"], row["key"]) for row in dave] == [("lab", "dave")]
        assert await sums.of(("key",), zone, 0, None, "research", "dave") == []


async def test_a_long_answer_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums_module, "ROWS_MAX", 2)
    async with office(tmp_path) as one:
        server = one.admin.proxy.server
        sums, zone = Sums(server.services.reader), server.snapshot.zone
        for _ in range(2):
            same = await asyncio.gather(*(sums.of(("key",), zone, 0) for _ in range(5)))
            assert all(rows is same[0] for rows in same) and len(same[0]) > 2
        await sums.of(("key",), zone, 0, None, "lab")
        assert [asked.team for asked in sums._known] == ["lab"]


def one_team(*teams: str | None) -> list[str]:
    names = {"research": ["alice", "bob", "shut"], "lab": ["carol", "dave"], None: ["loner"]}
    return [name for team in teams for name in names[team]]
