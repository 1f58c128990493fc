"""Libraries above the SDKs stream and call tools through the proxy unnoticed, under `observe` and
under `inject`, and each of their requests is booked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.injection import splice
from proxy.scripted_upstream import expected
from tests.clients.accounting import booked, due
from tests.clients.libraries import ASKS, SLOW, run
from tests.support.raw import Visit, raw_upstream
from tests.support.running import KEY, config, running

# The first for every scenario; streams of each: usage asked for in a last event, unasked on the
# last chunk, on every chunk, in `x_groq`, never.
MODELS = ("gpt-4o", "deepseek-chat", "gemini-2.5-pro", "llama-3.3-70b-instruct", "demo-silent")
CHAT = "/v1/chat/completions"
DOC = Path(__file__).parents[2] / "docs" / "clients.md"


async def vendor(visit: Visit) -> None:
    """The scripted upstream's answers, from a server that keeps what it was sent."""
    answer = expected(visit.body, target(visit).removeprefix("/v1/"))
    headers = tuple(f"{name}: {value}" for name, value in answer.headers)
    if answer.content_length is None:
        await visit.stream(*answer.events, headers=headers)
    else:
        await visit.answer(answer.body, status=f"{answer.status} Scripted", headers=headers)


def target(visit: Visit) -> str:
    return visit.lines[0].split(b" ")[1].decode()


def names(visit: Visit) -> list[bytes]:
    """The request's header fields but for those of the connection, which each side writes itself,
    and for `Via`."""
    fields = [line.partition(b":")[0].lower() for line in visit.lines[1:]]
    return sorted(
        field for field in fields if field not in (b"host", b"connection", b"authorization", b"via")
    )


def scrubbed(yielded: object) -> object:
    """Without the ids of answers, which the scripted upstream makes from the request (under inject
    it is not quite the same), and of parts, which one library draws by lot."""
    return json.loads(re.sub(r"(chatcmpl-|req_|aitxt-)\w{12,24}", r"\1", json.dumps(yielded)))


@pytest.mark.parametrize(
    "library",
    [pytest.param(name, marks=pytest.mark.campaign) if name in SLOW else name for name in ASKS],
)
async def test_a_library_notices_nothing_and_each_request_is_booked(
    tmp_path: Path, library: str
) -> None:
    for way in ("observe", "inject"):
        (tmp_path / way).mkdir()
    async with raw_upstream(vendor) as upstream:
        settings = {
            way: config(
                upstream.url,
                upstreams={
                    "mock": {"base_url": upstream.url, "api_key": f"sk-{way}", "stream_usage": way}
                },
            )
            for way in ("observe", "inject")
        }
        async with (
            running(tmp_path / "observe", settings["observe"]) as observe,
            running(tmp_path / "inject", settings["inject"]) as inject,
        ):
            targets = [(upstream.url, "sk-direct"), (observe.base_url, KEY), (inject.base_url, KEY)]
            direct, observed, injected = await run(tmp_path, library, targets, MODELS)
            visits = {
                way: [
                    visit
                    for visit in upstream.visits
                    if visit.header("authorization") == f"Bearer sk-{way}".encode()
                ]
                for way in ("direct", "observe", "inject")
            }
            rows = {
                "observe": await observe.records(len(visits["observe"])),
                "inject": await inject.records(len(visits["inject"])),
            }

    assert "raised" not in json.dumps(direct)
    assert scrubbed(observed) == scrubbed(direct)
    assert scrubbed(injected) == scrubbed(direct)
    streams = 0
    for plain, passed, spliced in zip(
        visits["direct"], visits["observe"], visits["inject"], strict=True
    ):
        assert (target(passed), names(passed), passed.body) == (
            target(plain),
            names(plain),
            plain.body,
        )
        call = read_call(CHAT, plain.body)
        assert (target(spliced), spliced.body) == (CHAT, splice(plain.body, call) or plain.body)
        if call.stream:
            streams += 1
            assert (call.include_usage is True) == ASKS[library], "docs/clients.md says otherwise"
    assert (
        streams >= len(MODELS) and sum(b'"tools"' in visit.body for visit in visits["direct"]) >= 2
    )
    answered = sum(b"sunny, 21 degrees" in visit.body for visit in visits["direct"])
    assert answered == (0 if library == "instructor" else 2), (
        "a tool was called, and what it said was sent back, whole and streamed"
    )
    for way in ("observe", "inject"):
        for plain, visit, row in zip(visits["direct"], visits[way], rows[way], strict=True):
            assert booked(row) == due(
                "chat/completions", json.loads(visit.body), len(plain.body)
            ), way
    # Under inject only what the vendor does not say even if asked is estimated.
    assert {row["model_requested"] for row in rows["inject"] if row["source"] != "reported"} == {
        "demo-silent"
    }


def test_the_document_shows_each_library() -> None:
    shown = re.findall(r"^\| `([a-z-]+)` .* \| (yes|no) \|", DOC.read_text(), re.MULTILINE)
    assert [(library, "yes" if asks else "no") for library, asks in ASKS.items()] == shown
