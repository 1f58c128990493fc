"""Answers that a vendor keeps: only those who asked for one may name it, and one that is written
behind its answer is booked once, when it is seen whole."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.core.dialects.openai_responses.answers import (
    USAGE,
    T,
    life,
    message,
    reasoning,
    response,
    said,
    sse,
)
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import guard

KEYS = {
    "alice": {"team": "research", "secret": "sk-test", "limits": ["100_000 tokens/day"]},
    "adam": {"team": "research", "secret": "sk-adam"},
    "bob": {"team": "sales", "secret": "sk-bob"},
    "carol": {"secret": "sk-carol"},
}
PRICES = [{"model": "*", "upstream": "mock", "input": "1", "output": "10", "currency": "USD"}]


def settings(url: str) -> dict[str, object]:
    teams = {"research": {}, "sales": {}}
    return config(url, keys=KEYS, teams=teams, prices=PRICES)


async def ask(
    proxy: Running, method: str, path: str, body: object = None, key: str = "sk-test", *fields: str
) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    try:
        sent = b"" if body is None else json.dumps(body).encode()
        lines = [f"Authorization: Bearer {key}", *fields]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
        head = "".join(f"{line}\r\n" for line in lines)
        await client.send(f"{method} {path} HTTP/1.1\r\nHost: proxy\r\n{head}\r\n".encode() + sent)
        return await client.answer()
    finally:
        await client.aclose()


class Vendor:
    """Keeps responses: in the background they are whole once `whole` is set."""

    def __init__(self) -> None:
        self.whole = False
        self.paths: list[str] = []

    async def script(self, visit: Visit) -> None:
        method, path, _ = visit.lines[0].decode().split(" ")
        self.paths.append(f"{method} {path}")
        id = "resp_b" if b'"background": true' in visit.body else "resp_1"
        if method == "POST" and path == "/v1/responses" and id == "resp_1":
            await visit.answer(
                json.dumps(response(id=id, output=[message(T)], usage=USAGE)).encode(),
                headers=("x-request-id: req_9",),
            )
        elif method == "POST" and path == "/v1/responses":
            await visit.answer(json.dumps(response("queued", id=id, background=True)).encode())
        elif method == "DELETE":
            await visit.answer(b'{"id":"resp_1","object":"response.deleted","deleted":true}')
        elif path.endswith("input_items"):
            await visit.answer(b'{"object":"list","data":[]}')
        elif path.endswith("input_tokens"):
            await visit.answer(b'{"object":"response.input_tokens","input_tokens":11}')
        elif path.endswith("stream=true"):
            await visit.stream(
                sse(life("created"), *said(T), life("completed", output=[message(T)], usage=USAGE))
            )
        elif path.endswith("/cancel"):
            await visit.answer(json.dumps(response("cancelled", id="resp_b")).encode())
        elif "resp_b" in path:
            kept = (
                response(id="resp_b", output=[message(T)], usage=USAGE)
                if self.whole
                else response("in_progress", id="resp_b")
            )
            await visit.answer(json.dumps(kept).encode())
        else:
            await visit.answer(
                json.dumps(response(id="resp_1", output=[message(T)], usage=USAGE)).encode()
            )


async def used(proxy: Running) -> int:
    """What alice's limit says is used."""
    services = proxy.server.services
    rules = proxy.server.snapshot.rules
    limits = rules.limits_for("alice", "research", "mock", "m")
    (state,) = await services.quota.states(limits, services.now_ms())
    return state.used


async def test_a_conversation_is_its_teams_and_what_it_holds_is_billed_again(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        if visit.lines[0].startswith(b"POST /v1/conversations "):
            await visit.answer(b'{"id":"conv_1","object":"conversation"}')
        else:
            usage = {"input_tokens": 5000, "output_tokens": 100, "total_tokens": 5100}
            answer = response(id="resp_1", output=[message(T)], usage=usage)
            await visit.answer(json.dumps(answer).encode())

    path = {"path": "/v1/conversations*", "methods": ["GET", "POST"], "upstream": "mock"}
    body = {"model": "m", "input": "x", "conversation": "conv_1", "max_output_tokens": 9}
    async with (
        raw_upstream(script) as upstream,
        running(
            tmp_path, settings(upstream.url) | {"passthrough": [{**path, "charge": "free"}]}
        ) as proxy,
    ):
        assert (await ask(proxy, "POST", "/v1/responses", body)).status == 404, "nobody made it"
        assert (await ask(proxy, "POST", "/v1/conversations", {})).status == 200
        refused = await ask(proxy, "POST", "/v1/responses", body, "sk-bob")
        assert (refused.status, b"answer_not_found" in refused.body) == (404, True)
        assert (await ask(proxy, "POST", "/v1/responses", body, "sk-adam")).status == 200
        refused = await ask(proxy, "POST", "/v1/responses", body, "sk-bob")
        assert refused.status == 404
        assert (await ask(proxy, "POST", "/v1/responses", body, "sk-test")).status == 200
        await proxy.records(3)
        kept = proxy.server.services.kept_answers.known("conv_1")
        assert kept is not None and kept.tokens == 5100


async def test_what_an_id_names_is_its_teams_alone(tmp_path: Path) -> None:
    vendor = Vendor()
    async with (
        raw_upstream(vendor.script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
    ):
        made = await ask(proxy, "POST", "/v1/responses", {"model": "m", "input": "x"})
        assert made.status == 200 and b"resp_1" in made.body
        asked = len(vendor.paths)
        for key in ("sk-bob", "sk-carol"):
            for method, path, body in (
                ("GET", "/v1/responses/resp_1", None), ("DELETE", "/v1/responses/resp_1", None), ("POST", "/v1/responses/resp_1/cancel", {}),
                ("GET", "/v1/responses/resp_1/input_items", None), ("POST", "/v1/responses", {"model": "m", "input": "x", "previous_response_id": "resp_1"}),
                ("POST", "/v1/responses", {"model": "m", "input": "x", "conversation": {"id": "conv_1"}}), ("GET", "/v1/responses/resp_unknown", None),
            ):  # fmt: skip
                refused = await ask(proxy, method, path, body, key)
                assert (refused.status, json.loads(refused.body)["error"]["code"]) == (
                    404,
                    "answer_not_found",
                ), path
        assert len(vendor.paths) == asked, "nothing of it reached the vendor"
        for key in ("sk-test", "sk-adam"):
            assert (
                await ask(proxy, "GET", "/v1/responses/resp_1?include=x", None, key)
            ).status == 200
            assert (
                await ask(proxy, "GET", "/responses/resp_1/input_items", None, key)
            ).status == 200
        assert (
            await ask(
                proxy,
                "POST",
                "/v1/responses",
                {"model": "m", "input": "x", "previous_response_id": "resp_1"},
                "sk-adam",
            )
        ).status == 200
        streamed = await ask(proxy, "GET", "/v1/responses/resp_1?stream=true")
        assert streamed.body.endswith(b"\n\n") and b"response.completed" in streamed.body
        assert (await ask(proxy, "DELETE", "/v1/responses/resp_1")).body.endswith(
            b'"deleted":true}'
        )
        rows = await proxy.records(8)
    usage = [row for row in rows if row["endpoint"] == "/v1/responses"]
    free = [row for row in rows if row["endpoint"] != "/v1/responses"]
    assert [
        (row["input_tokens"], row["output_tokens"], row["upstream_request_id"]) for row in usage
    ] == [(700, 90, "resp_1")] * 2
    assert {
        (row["input_tokens"], row["output_tokens"], row["source"], row["cost_nano"], row["outcome"])
        for row in free
    } == {(0, 0, "none", 0, "completed")}
    assert {row["endpoint"] for row in free} == {
        "/v1/responses/{id}",
        "/v1/responses/{id}/input_items",
    }


class ItemsVendor:
    """Its answers hold reasoning and code that ran in a container, under ids that never repeat; or
    under the same ids for everybody."""

    def __init__(self, *, repeats: bool = False) -> None:
        self.repeats = repeats
        self.made = 0

    async def script(self, visit: Visit) -> None:
        self.made += not self.repeats
        ids = {"message": f"msg_{self.made}", "reasoning": f"rs_{self.made}"}
        items = [
            message(T) | {"id": ids["message"]},
            reasoning("", "Hm.") | {"id": ids["reasoning"]},
        ]
        code = {"type": "code_interpreter_call", "id": f"ci_{self.made}", "code": "1"}
        items.append(code | {"container_id": f"cntr_{self.made}"})
        whole = response(id=f"resp_{self.made}", output=items, usage=USAGE)
        if b'"stream": true' not in visit.body:
            await visit.answer(json.dumps(whole).encode())
            return
        done = [
            {"type": "response.output_item.done", "output_index": at, "item": item}
            for at, item in enumerate(items)
        ]
        # ChatGPT's own backend ends like this, with no items.
        await visit.stream(
            sse(life("created"), *done, life("completed", output=[], id=whole["id"], usage=USAGE))
        )


def referring(*items: dict[str, object], **more: object) -> dict[str, object]:
    return {"model": "m", "input": [{"role": "user", "content": "x"}, *items], **more}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_item_of_an_answer_is_its_teams_alone(tmp_path: Path, stream: bool) -> None:
    vendor = ItemsVendor()
    async with (
        raw_upstream(vendor.script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
    ):
        made = await ask(
            proxy, "POST", "/v1/responses", {"model": "m", "input": "x", "stream": stream}
        )
        assert made.status == 200 and b"rs_1" in made.body
        asked = vendor.made
        named = [
            referring({"type": "item_reference", "id": "rs_1"}),
            referring({"id": "msg_1"}),
            referring({"type": "reasoning", "id": "rs_1", "summary": []}),
            referring(message(T) | {"id": "msg_1"}),
            referring(tools=[{"type": "code_interpreter", "container": "cntr_1"}]),
            referring(
                {"type": "mcp_approval_response", "approval_request_id": "ci_1", "approve": True}
            ),
        ]
        for path in ("/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact"):
            for body in (*named, referring({"type": "item_reference", "id": "rs_unknown"})):
                refused = await ask(proxy, "POST", path, body, "sk-bob")
                assert (refused.status, json.loads(refused.body)["error"]["code"]) == (
                    404,
                    "answer_not_found",
                ), body
        assert vendor.made == asked, "nothing of it reached the vendor"
        for body in named:
            assert (await ask(proxy, "POST", "/v1/responses", body, "sk-adam")).status == 200
        large = referring(
            {"role": "user", "content": "y" * 300_000}, {"type": "item_reference", "id": "rs_1"}
        )
        assert (await ask(proxy, "POST", "/v1/responses", large, "sk-bob")).status == 404
        assert (await ask(proxy, "POST", "/v1/responses", large, "sk-adam")).status == 200


async def test_items_of_answers_that_no_vendor_keeps_take_no_place(tmp_path: Path) -> None:
    async with (
        raw_upstream(ItemsVendor().script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
    ):
        body = {"model": "m", "input": "x", "store": False}
        assert (await ask(proxy, "POST", "/v1/responses", body)).status == 200
        assert len(proxy.server.services.items) == 0
        whole = referring(message(T) | {"id": "msg_1"}, reasoning("", "Hm."), store=False)
        for key in ("sk-test", "sk-bob"):
            assert (await ask(proxy, "POST", "/v1/responses", whole, key)).status == 200


async def test_an_id_that_everybody_is_given_refuses_nobody(tmp_path: Path) -> None:
    async with (
        raw_upstream(ItemsVendor(repeats=True).script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
    ):
        for key in ("sk-test", "sk-bob", "sk-test"):
            assert (
                await ask(proxy, "POST", "/v1/responses", {"model": "m", "input": "x"}, key)
            ).status == 200
            body = referring(message(T) | {"id": "msg_0"})
            assert (await ask(proxy, "POST", "/v1/responses", body, key)).status == 200


async def test_where_all_keys_are_of_one_team_what_is_unknown_is_theirs(tmp_path: Path) -> None:
    one_team = {name: key for name, key in KEYS.items() if key.get("team") == "research"}
    async with (
        raw_upstream(ItemsVendor().script) as upstream,
        running(tmp_path, settings(upstream.url) | {"keys": one_team}) as proxy,
    ):
        body = referring({"type": "item_reference", "id": "rs_before_the_restart"})
        assert (await ask(proxy, "POST", "/v1/responses", body)).status == 200


async def test_counting_a_prompt_is_free(tmp_path: Path) -> None:
    vendor = Vendor()
    async with (
        raw_upstream(vendor.script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
    ):
        counted = await ask(
            proxy, "POST", "/v1/responses/input_tokens", {"model": "m", "input": "x"}
        )
        assert json.loads(counted.body)["input_tokens"] == 11
        (row,) = await proxy.records(1)
    assert (row["input_tokens"], row["output_tokens"], row["source"], row["cost_nano"]) == (
        0,
        0,
        "none",
        0,
    )


@pytest.mark.parametrize("restart", [False, True])
async def test_a_response_in_the_background_is_booked_once_when_it_is_seen_whole(
    tmp_path: Path, restart: bool
) -> None:
    vendor = Vendor()
    async with raw_upstream(vendor.script) as upstream:
        async with running(tmp_path, settings(upstream.url)) as proxy:
            await ask(
                proxy,
                "POST",
                "/v1/responses",
                {"model": "m", "input": "x", "background": True, "max_output_tokens": 500},
            )
            (booked,) = await proxy.records(1)
            assert (booked["finish_reason"], booked["source"], booked["output_tokens"]) == (
                "queued",
                "estimated",
                500,
            )
            assert await used(proxy) >= 500
            await ask(proxy, "GET", "/v1/responses/resp_b")
            assert not [row for row in await proxy.records(2) if row["kind"] == "adjustment"]
            if not restart:
                await poll_twice(proxy, vendor)
                assert await used(proxy) == 790
        if restart:
            async with running(tmp_path, settings(upstream.url)) as proxy:
                await poll_twice(proxy, vendor)
                assert await used(proxy) == 790
            async with running(tmp_path, settings(upstream.url)) as proxy:
                assert await used(proxy) == 790
                assert (await ask(proxy, "GET", "/v1/responses/resp_b")).status == 200
                assert [row["kind"] for row in await proxy.records(6)].count("adjustment") == 1
                assert await used(proxy) == 790


async def poll_twice(proxy: Running, vendor: Vendor) -> None:
    vendor.whole = True
    for _ in range(2):
        assert (await ask(proxy, "GET", "/v1/responses/resp_b")).status == 200
    rows = await proxy.records(5)
    (late,) = [row for row in rows if row["kind"] == "adjustment"]
    of_it = [row for row in rows if row["id"] == late["adjusts"] or row is late]
    assert (
        sum(row["input_tokens"] for row in of_it) == 700
        and sum(row["output_tokens"] for row in of_it) == 90
    )  # type: ignore[misc]
    assert sum(row["cost_nano"] for row in of_it) == 700 * 1000 + 90 * 10_000  # type: ignore[misc]
    assert (late["reason"], late["source"], late["finish_reason"]) == (
        "late_close",
        "reported",
        "completed",
    )


async def test_leaving_a_response_in_the_background_is_not_free(tmp_path: Path) -> None:
    going = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.stream(sse(life("created", id="resp_b"), *said("One.")), end=False)
        going.set()
        await visit.reader.read()

    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
        guard(),
    ):
        client = await RawClient.connect(proxy.address)
        body = json.dumps(
            {
                "model": "m",
                "input": "x",
                "background": True,
                "stream": True,
                "max_output_tokens": 400,
            }
        ).encode()
        await client.send(
            b"POST /v1/responses HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-test\r\nContent-Length: %d\r\n\r\n"
            % len(body)
            + body
        )
        await client.head()
        while b"One." not in await client.chunk():
            pass
        client.leave()
        (row,) = await proxy.records(1)
    assert (row["outcome"], row["output_tokens"]) == ("client_closed", 400)


@pytest.mark.parametrize("key", ["sk-test", "sk-nobody"])
async def test_a_websocket_is_told_to_post_before_anything_is_asked(
    tmp_path: Path, key: str
) -> None:
    vendor = Vendor()
    async with (
        raw_upstream(vendor.script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
    ):
        answer = await ask(proxy, "GET", "/v1/responses", None, key, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x")  # fmt: skip
        assert answer.status == 426
        assert (answer.header("upgrade"), answer.header("connection")) == (b"websocket", b"close")
        assert json.loads(answer.body)["error"]["code"] == "websocket_not_offered"
        assert (await ask(proxy, "GET", "/v1/responses")).status == 405
    assert not vendor.paths
