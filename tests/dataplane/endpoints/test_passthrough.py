"""Paths that are passed through: relayed byte for byte, charged by their class, each object its
team's own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import aiohttp
import openai
import pytest

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

KEYS = {
    "alice": {"team": "research", "secret": "sk-test"},
    "amy": {"team": "research", "secret": "sk-amy"},
    "bob": {"team": "sales", "secret": "sk-bob"},
    "carl": {"secret": "sk-carl"},
    "narrow": {"team": "research", "secret": "sk-narrow", "models": ["gpt-*"]},
    "named": {"team": "research", "secret": "sk-named", "models": ["/v1/files", "gpt-*"]},
}
ALL = ["GET", "POST", "DELETE"]
FILES = {"path": "/v1/files*", "methods": ALL, "upstream": "mock", "charge": "free"}
BATCHES = {"path": "/v1/batches*", "methods": ["GET", "POST"], "upstream": "mock", "charge": "free"}
SPEECH = {
    "path": "/v1/audio/speech", "methods": ["POST"], "upstream": "mock", "charge": "per_request"
}  # fmt: skip
RERANK = {"path": "/v2/rerank", "methods": ["POST"], "upstream": "mock", "charge": "metered"}
PRICES = [
    {"model": "*", "input": "1", "output": "2", "request": "7"},
    {"model": "/v1/audio/speech", "input": "0", "output": "0", "request": "0.01"},
    {"model": "/v2/rerank", "input": "1", "output": "0"},
]
CENT = 10_000_000
FILE = "Content-Type: application/octet-stream"


def blocks(*entries: dict[str, object], **more: object) -> dict[str, object]:
    return {
        "passthrough": list(entries or (FILES, BATCHES, SPEECH, RERANK)),
        "prices": PRICES,
        "keys": KEYS,
        "teams": {"research": {}, "sales": {}},
        **more,
    }


async def ask(
    proxy: Running,
    method: str,
    path: str,
    body: bytes | None = None,
    *headers: str,
    key: str = "sk-test",
) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    lines = "".join(f"{line}\r\n" for line in (f"Authorization: Bearer {key}", *headers))
    if body is not None:
        lines += f"Content-Length: {len(body)}\r\n"
        if not any(header.startswith("Content-Type") for header in headers):
            lines += f"{FILE}\r\n"
    await client.send(
        f"{method} {path} HTTP/1.1\r\nHost: proxy\r\n{lines}\r\n".encode() + (body or b"")
    )
    answer = await client.answer()
    await client.aclose()
    return answer


def code(answer: RawAnswer) -> str:
    return str(json.loads(answer.body)["error"]["code"])


async def vendor(visit: Visit) -> None:
    """Makes a file or a batch, and tells of it."""
    method, path = visit.lines[0].decode().split(" ")[:2]
    name = path.partition("?")[0].removeprefix("/v1/").split("/")
    if name[-1] == "speech":
        await visit.answer(b"\xff\xfb" * 2000, headers=("Content-Type: audio/mpeg",))
    elif name[-1] == "rerank":
        await visit.answer(b'{"model":"rerank-v3","usage":{"total_tokens":1000000},"results":[]}')
    elif method == "POST" and name == ["files"]:
        await visit.answer(b' {"id": "file-1", "object":"file"}')
    elif method == "POST" and name == ["batches"]:
        await visit.answer(b'{"id":"batch_1","status":"validating","output_file_id":null}')
    elif name == ["batches", "batch_1"]:
        await visit.answer(b'{"id":"batch_1","status":"completed","output_file_id":"file-out"}')
    else:
        await visit.answer(b'{"id":"%b","path":true}' % name[-1].encode())


async def test_a_multipart_body_passes_as_it_came_and_the_record_is_free(tmp_path: Path) -> None:
    body = (
        b"--=Boundary\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n"
        b'--=Boundary\r\ncontent-disposition: form-data; name="file"; filename="a b"\r\n\r\n'
        b"\r\n--x\r\n\x00\xff\r\n--=Boundary--\r\n"
    )
    content_type = 'Content-Type: multipart/form-data;  boundary="=Boundary"; charset=utf-8'
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks())) as proxy,
    ):
        answer = await ask(proxy, "POST", "/files?x=%2F..", body, content_type)
        assert (answer.status, answer.body) == (200, b' {"id": "file-1", "object":"file"}')
        (visit,) = upstream.visits
        assert visit.lines[0] == b"POST /v1/files?x=%2F.. HTTP/1.1"
        assert visit.body == body
        assert content_type.encode() in visit.lines
        assert visit.header("authorization") == b"Bearer sk-upstream"
        assert visit.header("transfer-encoding") is None
        (record,) = await proxy.records(1)
    assert (record["endpoint"], record["dialect"]) == ("/v1/files", "passthrough")
    assert (record["model_requested"], record["reason"]) == ("/v1/files", "free")
    assert (record["input_tokens"], record["output_tokens"], record["source"]) == (0, 0, "none")
    assert (record["cost_nano"], record["charge_nano"], record["currency"]) == (0, 0, "USD")
    assert (record["status"], record["outcome"]) == (200, "completed")
    assert (record["bytes_in"], record["bytes_out"]) == (len(body), len(answer.body))
    assert record["upstream_request_id"] == "file-1"


@pytest.mark.parametrize(
    ("path", "cost_nano", "tokens", "reason"),
    [
        ("/v1/audio/speech", CENT, 0, "per_request"),
        ("/v2/rerank", 100 * CENT, 1_000_000, None),
    ],
)
async def test_the_class_of_a_path_makes_its_charge(
    tmp_path: Path, path: str, cost_nano: int, tokens: int, reason: str | None
) -> None:
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks())) as proxy,
    ):
        answer = await ask(proxy, "POST", path, b'{"a":1}', "Content-Type: application/json")
        assert answer.status == 200
        (record,) = await proxy.records(1)
    assert (record["cost_nano"], record["input_tokens"], record["reason"]) == (
        cost_nano,
        tokens,
        reason,
    )


async def test_a_metered_answer_that_states_nothing_is_unknown_and_never_free(
    tmp_path: Path,
) -> None:
    async def silent(visit: Visit) -> None:
        await visit.answer(b'{"results":[]}')

    async with (
        raw_upstream(silent) as upstream,
        running(tmp_path, config(upstream.url, **blocks())) as proxy,
    ):
        await ask(proxy, "POST", "/v2/rerank", b"{}", "Content-Type: application/json")
        (record,) = await proxy.records(1)
        async with aiohttp.ClientSession() as session, session.get(proxy.metrics_url) as answer:
            page = await answer.text()
    assert (record["cost_nano"], record["input_tokens"], record["reason"]) == (
        None,
        None,
        "unmetered",
    )
    (line,) = [line for line in page.splitlines() if 'kind="unmetered"' in line]
    assert line.startswith("tollkeeper_upstream_errors_total{") and line.endswith(" 1.0")


@pytest.mark.parametrize(
    ("method", "path", "status", "wanted"),
    [
        ("POST", "/v1/images/generations", 404, "unknown_path"),
        ("POST", "/v1/filesystem", 404, "unknown_path"),
        ("GET", "/v1/files/../models", 404, "unknown_path"),
        ("GET", "/v1/files/%2e%2e/models", 404, "unknown_path"),
        ("GET", "/v1/files/a%2fb", 404, "unknown_path"),
        ("GET", "/v1/files//a", 404, "unknown_path"),
        ("GET", "/v1/files/", 404, "unknown_path"),
        ("PUT", "/v1/files", 405, "method_not_allowed"),
        ("GET", "/v2/rerank", 405, "method_not_allowed"),
        ("GET", "/v1/files/file-9", 404, "object_not_found"),
        ("GET", "/v1/files", 403, "path_not_allowed"),
    ],
)
async def test_what_is_refused_reaches_no_vendor(
    tmp_path: Path, method: str, path: str, status: int, wanted: str
) -> None:
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks())) as proxy,
    ):
        answer = await ask(proxy, method, path)
        assert (answer.status, code(answer)) == (status, wanted)
        assert upstream.visits == []
        assert await proxy.records(0) == []


async def test_only_the_team_that_made_an_object_may_ask_for_it(tmp_path: Path) -> None:
    json_type = "Content-Type: application/json"
    settings = blocks()
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **settings)) as proxy,
    ):
        for path in ("/v1/files/file-1", "/v1/files/file-1/content"):
            assert (await ask(proxy, "GET", path)).status == 404  # nobody has made it yet
        await ask(proxy, "POST", "/v1/files", b"x", FILE)
        assert (await ask(proxy, "GET", "/v1/files/file-1/content")).status == 200
        assert (await ask(proxy, "GET", "/v1/files/file-1", key="sk-amy")).status == 200
        assert (await ask(proxy, "GET", "/v1/files/file%2D1")).status == 200
        for method in ("GET", "DELETE"):
            for key in ("sk-bob", "sk-carl"):
                refused = await ask(proxy, method, "/v1/files/file-1", key=key)
                assert (refused.status, code(refused)) == (404, "object_not_found")
        for stolen in (
            b'{"input_file_id":"file-1"}',
            b'{"input_file_id":"file-\\u0031"}',
            b'{"input_file_id":"file-1","input_file_id":"x"}',
            b'{"deep":[{"anything":"file-1"}]}',
            b'{"input_file_id":"file-unknown"}',
            b'{"file_ids":["file-unknown"]}',
        ):
            refused = await ask(proxy, "POST", "/v1/batches", stolen, json_type, key="sk-bob")
            assert (refused.status, code(refused)) == (404, "object_not_found"), stolen
        own = b'{"input_file_id":"file-1"}'
        assert (await ask(proxy, "POST", "/v1/batches", own, json_type)).status == 200
        assert (await ask(proxy, "GET", "/v1/files/file-out/content")).status == 404
        assert (await ask(proxy, "GET", "/v1/batches/batch_1")).status == 200
        assert (await ask(proxy, "GET", "/v1/files/file-out/content")).status == 200


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("Content-Type: ", 415),
        ("Content-Type: json", 415),
        ("Content-Type: multipart/form-data; boundary=x\r\nContent-Type: application/json", 400),
        ("Content-Type: text/plain", 415),
        ("Content-Type: application/x-www-form-urlencoded", 415),
        ("Content-Type: application/json; charset=utf-7", 415),
        ("Content-Type: application/jsonl", 415),
        ("Content-Type: multipart/form-data; boundary=x", 415),
        ("Content-Type: application/octet-stream", 415),
        ("Content-Type: audio/mpeg; application/json", 415),
    ],
)
@pytest.mark.parametrize("blank", ["", "\ufeff", " " * 70_000])
async def test_no_content_type_hides_a_body_that_names_a_file(
    tmp_path: Path, kind: str, status: int, blank: str
) -> None:
    body = f'{blank}{{"input_file_id":"file-1"}}'.encode()
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks())) as proxy,
    ):
        await ask(proxy, "POST", "/v1/files", b"x", FILE)
        refused = await ask(proxy, "POST", "/v1/batches", body, kind, key="sk-bob")
        assert refused.status == status or (blank == "\ufeff" and refused.status == 400)
        assert all(b"file-1" not in visit.body for visit in upstream.visits)


def form(*parts: bytes) -> bytes:
    return (
        b"".join(b"--x7\r\nContent-Disposition: form-data; name=%b\r\n" % part for part in parts)
        + b"--x7--\r\n"
    )


STOLEN = (
    b"training_file\r\n\r\nfile-1\r\n",
    b'"training_file"\r\n\r\n\r\n\r\nfile-1 \r\n',
    b"file_ids[]\r\n\r\nfile-unknown\r\n",
    b"x\r\n\r\nsee file-1, please\r\n",
    b'x\r\nContent-Type: application/json\r\n\r\n{"file\\u005fid":"file-\\u0031"}\r\n',
    b'x; filename=""\r\n\r\nfile-1\r\n',
    b'x; filename="a"\r\n\r\nfile-1\r\n',
)
HIDDEN = (
    b"x\r\nContent-Transfer-Encoding: base64\r\n\r\nZmlsZS0x\r\n",
    b"x\r\nContent-Type: text/plain; charset=utf-7\r\n\r\nfile-1\r\n",
    b"x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nfile-1\r\n--y--\r\n",
    b'x; filename="a"\r\n\r\n\n--x7\nContent-Disposition: form-data; name=y\n\nfile-1\n\r\n',
)


@pytest.mark.parametrize(
    ("part", "status"), [(part, 404) for part in STOLEN] + [(part, 415) for part in HIDDEN]
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_no_form_names_another_teams_object(
    tmp_path: Path, part: bytes, status: int, chunked: bool
) -> None:
    """In whatever pieces it comes: nobody upstream gets to the end of the part that names it."""
    own = form(b"training_file\r\n\r\nfile-1\r\n", b'file; filename="a"\r\n\r\n\0\r\n')
    kind = "Content-Type: multipart/form-data; boundary=x7"
    bodies: list[bytes] = []

    async def keeps(visit: Visit) -> None:
        bodies.append(visit.body)
        await vendor(visit)

    async with (
        raw_upstream(keeps) as upstream,
        running(tmp_path, config(upstream.url, **blocks())) as proxy,
    ):
        await ask(proxy, "POST", "/v1/files", b"x", FILE)
        assert (await ask(proxy, "POST", "/v1/batches", own, kind)).status == 200
        body = form(b"purpose\r\n\r\nx\r\n", part)
        client = await RawClient.connect(proxy.address)
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        await client.send(
            f"POST /v1/batches HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-bob\r\n"
            f"{kind}\r\n{framing}\r\n\r\n".encode()
        )
        for at in range(len(body)):
            byte = body[at : at + 1]
            await client.send(b"1\r\n%b\r\n" % byte if chunked else byte)
        await client.send(b"0\r\n\r\n" if chunked else b"")
        assert (await client.answer()).status == status
        await client.aclose()
    assert [body for body in bodies if body] == [b"x", own]


@pytest.mark.parametrize(
    "coding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "gzip"]
)
async def test_no_coding_hides_json_in_a_file(tmp_path: Path, coding: str) -> None:
    text = '{"file_id":"file-1"}'
    body = gzip.compress(text.encode()) if coding == "gzip" else text.encode(coding)
    kinds = ["Content-Type: application/octet-stream"]
    if coding == "gzip":
        kinds.append("Content-Encoding: gzip")
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks())) as proxy,
    ):
        assert (await ask(proxy, "POST", "/v1/batches", body, *kinds)).status == 415
        assert not any(visit.body for visit in upstream.visits)


async def test_another_teams_object_is_named_nowhere_in_a_target(tmp_path: Path) -> None:
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks())) as proxy,
    ):
        await ask(proxy, "POST", "/v1/files", b"x", FILE)
        own = b'{"input":"x"}'
        json_type = "Content-Type: application/json"
        assert (await ask(proxy, "POST", "/v1/batches", own, json_type, key="sk-bob")).status == 200
        seen = len(upstream.visits)
        for behind in ("/file-1", "?file_id=file-1", "?x=1;file_id=file%2d1"):
            path = f"/v1/batches/batch_1{behind}"
            assert (await ask(proxy, "GET", path, key="sk-bob")).status == 404
        assert len(upstream.visits) == seen
        assert (await ask(proxy, "GET", "/v1/batches/batch_1?x=1", key="sk-bob")).status == 200


async def test_a_body_that_arrives_slowly_takes_no_place_of_others(tmp_path: Path) -> None:
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks(inflight_max=1))) as proxy,
    ):
        slow = await RawClient.connect(proxy.address)
        await slow.send(
            b"POST /v1/batches HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-bob\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
        )
        await until(lambda: proxy.server.services.arriving.count == 1)
        assert (await ask(proxy, "POST", "/v1/files", b"x", FILE)).status == 200
        await slow.send(b"}")
        assert (await slow.answer()).status == 200
        await slow.aclose()


async def test_one_keys_uploads_leave_places_for_others(tmp_path: Path) -> None:
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks(inflight_max=8))) as proxy,
    ):
        slow = [await RawClient.connect(proxy.address) for _ in range(2)]
        for client in slow:
            await client.send(
                b"POST /v1/files HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-bob\r\n"
                b"Content-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\nx"
            )
        await until(lambda: proxy.server.services.uploads.count == 2)
        refused = await ask(proxy, "POST", "/v1/files", b"x", FILE, key="sk-bob")
        assert (refused.status, code(refused)) == (503, "overloaded")
        assert (await ask(proxy, "POST", "/v1/files", b"x", FILE)).status == 200
        for client in slow:
            await client.send(b"y")
            assert (await client.answer()).status == 200
            await client.aclose()
        assert (await ask(proxy, "POST", "/v1/files", b"x", FILE, key="sk-bob")).status == 200
        assert proxy.server.services.uploads.count == 0


async def test_what_stands_in_a_file_says_nothing_about_who_owns_what(tmp_path: Path) -> None:
    async def echoes(visit: Visit) -> None:
        made = b"POST" in visit.lines[0]
        await visit.answer(
            b'{"id":"file-1"}' if made else b'{"id":"file-old","output_file_id":"file-other"}'
        )

    async with (
        raw_upstream(echoes) as upstream,
        running(tmp_path, config(upstream.url, **blocks())) as proxy,
    ):
        await ask(proxy, "POST", "/v1/files", b"x", FILE)
        for path in ("file-1/content", "file-1/raw", "file-1?alt=media"):
            assert (await ask(proxy, "GET", f"/v1/files/{path}")).status == 200
        for id in ("file-old", "file-other"):
            assert (await ask(proxy, "GET", f"/v1/files/{id}/content")).status == 404


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("chat/completions", {"type": "file", "file": {"file_id": "file-1"}}),
        ("responses", {"type": "input_file", "file_id": "file-1"}),
        ("responses", {"type": "input_file", "file_url": "\u00e4", "file\u005fid": "file-\u0031"}),
        ("messages", {"type": "document", "source": {"type": "file", "file_id": "file-1"}}),
    ],
)
async def test_no_call_has_another_teams_file_read(
    tmp_path: Path, path: str, part: dict[str, object]
) -> None:
    said = [{"role": "user", "content": [part]}]
    member = "input" if path == "responses" else "messages"
    body = json.dumps({"model": "gpt-m", "max_tokens": 9, member: said}).encode()
    apis = ["chat", "responses", "messages"]
    upstreams = {"base_url": "", "api_key": "sk-upstream", "apis": apis}
    async with raw_upstream(vendor) as upstream:
        upstreams["base_url"] = upstream.url
        settings = config(upstream.url, **blocks(upstreams={"mock": upstreams}))
        async with running(tmp_path, settings) as proxy:
            await ask(proxy, "POST", "/v1/files", b"x", FILE)
            for key, status in (("sk-bob", 404), ("sk-carl", 404), ("sk-amy", 200)):
                answer = await ask(
                    proxy, "POST", f"/v1/{path}", body, "Content-Type: application/json", key=key
                )
                assert answer.status == status, (key, answer.body)


async def test_a_restart_knows_the_owners_from_the_book(tmp_path: Path) -> None:
    settings = blocks()
    async with raw_upstream(vendor) as upstream:
        async with running(tmp_path, config(upstream.url, **settings)) as proxy:
            assert (await ask(proxy, "POST", "/v1/files", b"x", FILE)).status == 200
            await proxy.records(1)
        async with running(tmp_path, config(upstream.url, **settings)) as proxy:
            assert (await ask(proxy, "GET", "/v1/files/file-1/content")).status == 200
            refused = await ask(proxy, "DELETE", "/v1/files/file-1", key="sk-bob")
            assert (refused.status, code(refused)) == (404, "object_not_found")


async def test_who_may_use_a_path(tmp_path: Path) -> None:
    entries = (
        {**FILES, "teams": ["sales"], "keys": ["carl"]},
        {**BATCHES, "path": "/v1/uploads*"},
    )
    statuses = {}
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks(*entries))) as proxy,
    ):
        for path in ("/v1/files", "/v1/uploads"):
            for key in ("sk-test", "sk-bob", "sk-carl", "sk-narrow"):
                answer = await ask(proxy, "POST", path, b"x", key=key)
                statuses[path, key] = answer.status
        (tmp_path / "2").mkdir()
        async with running(tmp_path / "2", config(upstream.url, **blocks(FILES))) as proxy:
            assert (await ask(proxy, "POST", "/v1/files", b"x", key="sk-narrow")).status == 403
            assert (await ask(proxy, "POST", "/v1/files", b"x", key="sk-named")).status == 200
            assert (await ask(proxy, "POST", "/v1/files", b"x", key="sk-wrong")).status == 401
    assert statuses == {
        ("/v1/files", "sk-test"): 403,
        ("/v1/files", "sk-bob"): 200,
        ("/v1/files", "sk-carl"): 200,
        ("/v1/files", "sk-narrow"): 403,
        ("/v1/uploads", "sk-test"): 200,
        ("/v1/uploads", "sk-bob"): 200,
        ("/v1/uploads", "sk-carl"): 200,
        ("/v1/uploads", "sk-narrow"): 403,
    }


async def test_requests_count_and_used_up_tokens_do_not_keep_a_free_path_shut(
    tmp_path: Path,
) -> None:
    limits = {"limits": ["2 requests/day", "0 tokens/day"]}
    keys = {"alice": {"team": "research", "secret": "sk-test", **limits}}
    async with raw_upstream(vendor) as upstream:
        settings = config(upstream.url, **blocks(keys=keys))
        async with running(tmp_path, settings) as proxy:
            found = [(await ask(proxy, "POST", "/v1/files", b"x")).status for _ in range(3)]
            assert found == [200, 200, 429]
            refused = await ask(
                proxy, "POST", "/v2/rerank", b"{}", "Content-Type: application/json"
            )
            assert refused.status == 429


async def test_a_money_limit_holds_for_fees(tmp_path: Path) -> None:
    keys = {
        "alice": {"secret": "sk-test", "limits": [{"limit": "0.02 USD/day", "enforce": "strict"}]}
    }
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks(keys=keys))) as proxy,
    ):
        found = [(await ask(proxy, "POST", "/v1/audio/speech", b"x")).status for _ in range(3)]
        assert found == [200, 200, 429]
        assert (await ask(proxy, "POST", "/v1/files", b"x")).status == 200


async def test_the_official_sdk_uploads_reads_batches_speaks_and_removes(tmp_path: Path) -> None:
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks())) as proxy,
        openai.AsyncOpenAI(base_url=proxy.base_url, api_key="sk-test", max_retries=0) as client,
        openai.AsyncOpenAI(base_url=proxy.base_url, api_key="sk-bob", max_retries=0) as other,
    ):
        made = await client.files.create(file=("a.jsonl", b"{}\n" * 9999), purpose="batch")
        assert made.id == "file-1"
        assert b"{}\n" * 9999 in upstream.visits[0].body
        batch = await client.batches.create(
            input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        ended = await client.batches.retrieve(batch.id)
        assert ended.output_file_id == "file-out"
        content = await client.files.content("file-out")
        assert content.content
        with pytest.raises(openai.NotFoundError):
            await other.files.content("file-out")
        with pytest.raises(openai.PermissionDeniedError):
            await other.files.list()
        speech = await client.audio.speech.create(model="tts", voice="alloy", input="hi")
        assert speech.content == b"\xff\xfb" * 2000
        await client.files.delete(made.id)
        rows = await proxy.records(6)
    reasons = [row["reason"] for row in rows]
    assert (reasons.count("free"), reasons.count("later")) == (4, 1)
    assert sum(row["cost_nano"] or 0 for row in rows) == CENT


async def test_a_stored_chat_is_read_and_removed_where_an_entry_says_so(tmp_path: Path) -> None:
    """As docs/passthrough.md has it."""
    entry = {"path": "/v1/chat/completions/*", "methods": ["GET", "DELETE"], "upstream": "mock", "charge": "free", "ids": "any"}  # fmt: skip
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path, config(upstream.url, **blocks(entry))) as proxy,
    ):
        for method in ("GET", "DELETE"):
            assert (await ask(proxy, method, "/v1/chat/completions/chatcmpl-1")).status == 200
        for method, path in (("GET", "/v1/chat/completions"), ("DELETE", "/v1/models/m")):
            assert (await ask(proxy, method, path)).status == 405
