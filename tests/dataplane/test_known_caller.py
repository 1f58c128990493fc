"""What was found out about a head is used again for the same one, as long as it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from proxy.core.http.headers import RawHeaders
from proxy.dataplane.known_caller import WAYS_MAX, KnownCaller
from proxy.dataplane.request_loop import RequestLoop
from proxy.tenants.ring import KeyRing, Tenant
from tests.support.raw import RawClient, RawUpstream, Visit, raw_upstream
from tests.support.running import config, running
from tests.support.waiting import guard, until

ANSWER = b'{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
GET = b"GET /healthz HTTP/1.1\r\nHost: p\r\n\r\n"


async def script(visit: Visit) -> None:
    await visit.answer(ANSWER)


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with raw_upstream(script) as upstream:
        yield upstream


def body(prompt: str) -> bytes:
    return b'{"model":"m-1","messages":[{"role":"user","content":"%b"}]}' % prompt.encode()


def post(prompt: str, *, key: str = "sk-test", more: bytes = b"") -> bytes:
    sent = body(prompt)
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer %b\r\n%b"
        b"Content-Length: %d\r\n\r\n%b" % (key.encode(), more, len(sent), sent)
    )


def chunked(prompt: str) -> bytes:
    sent = body(prompt)
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-test\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(sent), sent)
    )


async def statuses(address: str, *pieces: bytes, count: int, reads: list[bool]) -> list[int]:
    """Of so many answers on one connection; each piece goes out when the proxy has read the one
    before."""
    client = await RawClient.connect(address)
    found: list[int] = []
    async with guard():
        for number, piece in enumerate(pieces, 1):
            before = len(reads)
            await client.send(piece)
            await until(lambda before=before: len(reads) > before)  # type: ignore[misc]
            if b"Transfer-Encoding" in piece:
                # A request that comes before this one's answer hides how its chunks ended, so that
                # the connection would end with the answer.
                while len(found) < number:
                    found.append((await client.answer()).status)
        while len(found) < count:
            found.append((await client.answer()).status)
    await client.aclose()
    return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each read of a client's connection: whether it was a request taken without the parser."""
    seen: list[bool] = []
    read = RequestLoop.data_received

    def watched(self: RequestLoop, data: bytes) -> None:
        before = self._next
        read(self, data)
        if data:
            seen.append(self._next is not None and self._next.stream is None and before is None)

    monkeypatch.setattr(RequestLoop, "data_received", watched)
    return seen


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often it was worked out who asks."""
    asked: list[str] = []
    authenticate = KeyRing.authenticate

    def watched(self: KeyRing, headers: RawHeaders, now_ms: int, forward: bool) -> Tenant:
        asked.append("once")
        return authenticate(self, headers, now_ms, forward)

    monkeypatch.setattr(KeyRing, "authenticate", watched)
    return asked


async def test_every_way_to_send_requests_gives_the_same(
    tmp_path: Path, upstream: RawUpstream, reads: list[bool]
) -> None:
    prompts = ["a", "bb" * 400, "c", "\\r\\n\\r\\n", "d"]
    requests = [post(prompt) for prompt in prompts]
    split = requests[2].index(b"\r\n\r\n") + 4
    ways = {
        "one by one": requests,
        "all at once": [b"".join(requests)],
        "head and body apart": [
            piece for request in requests for piece in (request[:split], request[split:])
        ],
        "two at once": [requests[0], requests[1] + requests[2], requests[3], requests[4]],
        "torn": [requests[0], requests[1], *(requests[2][at : at + 40] for at in range(0, len(requests[2]), 40)), *requests[3:]],
        "a tail of the next": [requests[0] + requests[1][:9], requests[1][9:], *requests[2:]],
        "one in chunks": [requests[0], requests[1], chunked(prompts[2]), *requests[3:]],
    }  # fmt: skip
    async with running(tmp_path, config(upstream.url)) as proxy:
        for name, pieces in ways.items():
            upstream.visits.clear()
            assert await statuses(proxy.address, *pieces, count=5, reads=reads) == [200] * 5, name
            assert [visit.body for visit in upstream.visits] == list(map(body, prompts)), name
            assert {visit.header("content-length") for visit in upstream.visits} == {
                b"%d" % len(body(prompt)) for prompt in prompts
            }, name
        await proxy.records(5 * len(ways))


async def test_what_tells_requests_apart_may_differ(
    tmp_path: Path, upstream: RawUpstream, reads: list[bool]
) -> None:
    """As an SDK of OpenAI under OpenTelemetry sends it. Each vendor sees its own values."""

    def told(number: int, *, user: str = "u", trace: str = "traceparent") -> bytes:
        fields = {
            trace: f"00-{number:032x}-{number:016x}-01",
            "X-Request-Id": f"req-%b-{number}",
            "idempotency-key": "k" * (number + 1),
            "x-stainless-retry-count": str(number),
            "x-end-user": user,
        }
        return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()

    heads = [told(0), told(1), told(2), told(3, user="v"), told(4, user="v")]
    heads += [told(5, user="v", trace="x-trace"), told(6, user="v", trace="x-trace")]
    async with running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        for head in heads:
            await client.send(post("a", more=head))
            assert (await client.answer()).status == 200
        await client.aclose()
        # Not by their ids: those of one millisecond have no order.
        rows = await proxy.records(len(heads))
        records = sorted(rows, key=lambda record: record["client_retry_count"])
    # Of another end user, or under another name, it is another head.
    assert reads == [False, True, True, False, True, False, False]
    assert [record["client_retry_count"] for record in records] == [0, 1, 2, 3, 4, 5, 6]
    assert len({record["end_user"] for record in records[:3]}) == 1
    assert records[3]["end_user"] != records[2]["end_user"]
    for visit, head in zip(upstream.visits, heads, strict=True):
        for line in head.split(b"\r\n")[:4]:
            name, _, value = line.partition(b": ")
            assert visit.header(name.decode().lower()) == value


async def test_whom_a_request_is_for_may_stand_in_what_tells_it_apart(
    tmp_path: Path, upstream: RawUpstream, reads: list[bool]
) -> None:
    settings = config(upstream.url, attribution={"end_user": ["header:x-request-id"]})
    async with running(tmp_path, settings) as proxy:
        client = await RawClient.connect(proxy.address)
        for user in ("a", "b", "b"):
            await client.send(post("a", more=b"x-request-id: %b\r\n" % user.encode()))
            assert (await client.answer()).status == 200
        await client.aclose()
        records = await proxy.records(3)
    one, other, again = (record["end_user"] for record in records)
    assert reads == [False, True, True] and one != other == again is not None


async def test_a_request_without_a_body_between_them_is_no_hindrance(
    tmp_path: Path, upstream: RawUpstream, reads: list[bool]
) -> None:
    async with running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        for request in (GET, post("a"), post("bb"), GET, post("c"), post("dd")):
            await client.send(request)
            assert (await client.answer()).status == 200
        await client.aclose()
    assert reads == [False, False, True, False, False, True]


async def test_it_does_not_outlast_the_key_or_the_config(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    async with running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)

        async def asked(request: bytes) -> int:
            await client.send(request)
            return (await client.answer()).status

        assert [await asked(post(prompt)) for prompt in ("a", "bb")] == [200, 200]
        assert await asked(post("a", key="sk-tess")) == 401
        assert [await asked(post(prompt)) for prompt in ("a", "bb")] == [200, 200]
        settings = config(upstream.url)
        settings["keys"] = {"other": {"secret": "sk-other"}}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
        await proxy.server.reload()
        assert await asked(post("a")) == 401
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(upstream.url)))
        await proxy.server.reload()
        assert [await asked(post(prompt)) for prompt in ("a", "bb")] == [200, 200]
        services = proxy.server.services
        services.draining = True
        assert await asked(post("ccc")) == 503
        services.draining = False
        assert await asked(post("dddd")) == 200
        await client.aclose()


async def test_another_connection_with_the_same_head_is_known_at_once(
    tmp_path: Path, upstream: RawUpstream, asked: list[str], reads: list[bool]
) -> None:
    """And what it sends is its own: length, body, model, and what tells its requests apart."""

    def request(prompt: str, number: int) -> bytes:
        return post(prompt, more=b"x-request-id: %d\r\n" % number)

    async with running(tmp_path, config(upstream.url)) as proxy:
        clients = [await RawClient.connect(proxy.address) for _ in range(4)]
        sent = [("a" * 7**number, number) for number in range(4)]
        for client, (prompt, number) in zip(clients, sent, strict=True):
            await client.send(request(prompt, number))
            assert (await client.answer()).status == 200
        assert asked == ["once"]
        # Each was accepted before the first had sent anything, and takes its head from there.
        assert reads == [False] * 4
        newer = await RawClient.connect(proxy.address)
        await newer.send(request("newer", 7))
        assert (await newer.answer()).status == 200
        await newer.aclose()
        assert upstream.visits.pop().body == body("newer") and reads.pop() and asked == ["once"]
        for client, (prompt, number) in zip(clients, reversed(sent), strict=True):
            await client.send(request(prompt, number).replace(b"m-1", b"m-2"))
            assert (await client.answer()).status == 200
        stranger = await RawClient.connect(proxy.address)
        await stranger.send(request("a", 9).replace(b"sk-test", b"sk-tesu"))
        assert (await stranger.answer()).status == 401
        assert asked == ["once"] * 2
        for client in (*clients, stranger):
            await client.aclose()
        models = [record["model_requested"] for record in await proxy.records(9)]
    assert sorted(models) == ["m-1"] * 5 + ["m-2"] * 4
    for visit, (prompt, number) in zip(upstream.visits, sent + sent[::-1], strict=True):
        model = b"m-1" if b"m-1" in visit.body else b"m-2"
        assert visit.body == body(prompt).replace(b"m-1", model)
        assert visit.header("content-length") == b"%d" % len(visit.body)
        assert visit.header("x-request-id") == b"%d" % number


async def test_each_model_goes_its_own_way_and_few_are_kept(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    many = [f"m-{letter}" for letter in "abcdefghijklmnop"]
    async with raw_upstream(script) as second:
        settings = config(
            upstream.url,
            upstreams={
                name: {"base_url": url, "api_key": "k"}
                for name, url in (("one", upstream.url), ("two", second.url))
            },
            routes=[{"model": "m-2", "upstream": "two"}, {"model": "*", "upstream": "one"}],
            keys={
                "alice": {"team": "research", "secret": "sk-test", "models": ["m-1", "m-2", *many]}
            },
        )
        async with running(tmp_path, settings) as proxy:
            client = await RawClient.connect(proxy.address)
            models = ["m-1", "m-1", "m-2", "m-1", "m-3", "m-2", *many]
            for model in models:
                await client.send(post("a").replace(b"m-1", model.encode()))
                assert (await client.answer()).status == (403 if model == "m-3" else 200), model
            (connection,) = proxy.server.front.listener.connections
            assert isinstance(connection, RequestLoop) and connection._head is not None
            known = connection._head.known
            assert isinstance(known, KnownCaller) and len(known.ways) <= WAYS_MAX
            await client.aclose()
        assert [b"m-2" in visit.body for visit in second.visits] == [True, True]
        assert len(upstream.visits) == 3 + len(many)


async def test_a_head_goes_with_its_last_connection(tmp_path: Path, upstream: RawUpstream) -> None:
    async with running(tmp_path, config(upstream.url)) as proxy:
        heads = proxy.server.front.listener._heads
        clients = [await RawClient.connect(proxy.address) for _ in range(2)]
        for client in clients:
            await client.send(post("a"))
            assert (await client.answer()).status == 200
        await clients[0].aclose()
        await until(lambda: len(proxy.server.front.listener.connections) == 1)
        assert heads.guess() is not None
        await clients[1].aclose()
        async with guard():
            await until(lambda: heads.guess() is None)


EMPTY_OR_NOT = [(b"k1", b""), (b"", b"k2"), (b"", b""), (b"k1", b"k2")]


@pytest.mark.parametrize("keys", EMPTY_OR_NOT)
@pytest.mark.parametrize("connected", ["before", "after"])
async def test_an_empty_value_is_nobody_elses(
    tmp_path: Path, upstream: RawUpstream, keys: tuple[bytes, bytes], connected: str
) -> None:
    """A vendor drops a request with the idempotency key of another one."""
    async with running(tmp_path, config(upstream.url)) as proxy:
        clients = [await RawClient.connect(proxy.address)]
        if connected == "before":
            clients.append(await RawClient.connect(proxy.address))
            await until(lambda: len(proxy.server.front.listener.connections) == 2)
        for number, key in enumerate(keys):
            if number == len(clients):
                clients.append(await RawClient.connect(proxy.address))
            more = b"Idempotency-Key: %b\r\ntracestate: \r\n" % key
            await clients[number].send(post("a" * 9**number, more=more))
            assert (await clients[number].answer()).status == 200
        for client in clients:
            await client.aclose()
    assert [visit.header("idempotency-key") for visit in upstream.visits] == list(keys)


@pytest.mark.parametrize("known_first", [True, False])
async def test_a_request_from_before_a_reload_says_nothing_of_those_behind_it(
    tmp_path: Path, upstream: RawUpstream, known_first: bool
) -> None:
    """Its own config lets it call a model, which theirs does not."""

    def only(*models: str) -> dict[str, object]:
        keys = {"alice": {"team": "research", "secret": "sk-test", "models": list(models)}}
        return config(upstream.url, keys=keys)

    async with running(tmp_path, only("m-1", "m-2")) as proxy:
        slow, other = [await RawClient.connect(proxy.address) for _ in range(2)]
        if known_first:
            await other.send(post("a"))
            assert (await other.answer()).status == 200
        request = post("slow").replace(b"m-1", b"m-2")
        split = request.index(b"\r\n\r\n") + 4
        await slow.send(request[:split])
        await until(lambda: proxy.server.services.arriving.count == 1)
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(only("m-1")))
        await proxy.server.reload()
        await other.send(post("a"))
        assert (await other.answer()).status == 200
        await slow.send(request[split:])
        assert (await slow.answer()).status == 200
        for client in (other, slow, await RawClient.connect(proxy.address)):
            await client.send(request)
            assert (await client.answer()).status == 403
            await client.aclose()


async def test_a_body_that_comes_apart_from_its_head_is_a_known_callers_too(
    tmp_path: Path, upstream: RawUpstream, asked: list[str]
) -> None:
    prompts = ["a", "bb", "c" * 300, "d" * 20_000, "ee"]
    async with running(tmp_path, config(upstream.url, bodies={"max": "30KB"})) as proxy:
        client = await RawClient.connect(proxy.address)
        for prompt in prompts:
            request = post(prompt)
            split = request.index(b"\r\n\r\n") + 4
            await client.send(request[:split])
            await until(lambda: proxy.server.services.arriving.count == 1)
            await client.send(request[split:])
            assert (await client.answer()).status == 200
        assert asked == ["once"]
        services = proxy.server.services
        services.admit(services.directory, services.keys.changed(services.directory, ["alice"]))
        await client.send(post("g"))
        assert (await client.answer()).status == 200 and asked == ["once", "once"]
        await client.send(post("f" * 31_000))
        assert (await client.answer()).status == 413
        await client.aclose()
    assert [visit.body for visit in upstream.visits] == [*map(body, prompts), body("g")]
    assert asked == ["once", "once"]
