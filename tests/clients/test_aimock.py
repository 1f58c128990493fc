"""Another project's mock of OpenAI's API behind the proxy, faults included: each answer as its
client saw it fits its record, and none arrives twice or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.aimock import CLI, round_of
from tests.clients.drivers import need_node

CHAOS = {
    "connection lost before an answer",
    "status 500",
    "status 429",
    "no JSON under status 200",
    "usage stated",
}


@pytest.mark.parametrize("stream_usage", ["observe", "inject"])
@pytest.mark.parametrize("chaos", [False, True])
async def test_each_answer_fits_its_record(tmp_path: Path, stream_usage: str, chaos: bool) -> None:
    await fits(tmp_path, 120, stream_usage, chaos=chaos)


@pytest.mark.campaign
@pytest.mark.parametrize("stream_usage", ["observe", "inject"])
async def test_each_of_five_thousand_answers_fits_its_record(
    tmp_path: Path, stream_usage: str
) -> None:
    await fits(tmp_path, 5000, stream_usage, chaos=True)


async def fits(directory: Path, requests: int, stream_usage: str, *, chaos: bool) -> None:
    need_node(CLI)
    outcome = await round_of(directory, requests, stream_usage=stream_usage, chaos=chaos)
    assert not outcome.findings, "\n".join(outcome.findings)
    unasked = "usage taken out" if stream_usage == "inject" else "no usage stated"
    assert set(outcome.kinds) == {"usage stated", unasked} | (CHAOS if chaos else set())
