"""Keys and content reach no store, no log, no metric and no error body (I10).

Canaries are planted wherever a secret or content can come from, on good ways and on bad ones; then
every log line at DEBUG, the metrics page, every
answer of the proxy's own and every byte of the data directory are searched. What a vendor answers
passes unchanged to the client who asked, and only there.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.server import logs
from proxy.server.failpoints import NAMES
from tests.support.raw import RawClient, RawUpstream, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import guard

pytestmark = pytest.mark.whole

MARK = "c4n4ry"  # in every canary, so that one search finds them all
KEY = f"sk-{MARK}-right"
UPSTREAM_KEY = f"sk-{MARK}-operator"
PROMPT = f"{MARK}-prompt"
SAID = f"{MARK}-answer"
SPOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % SAID.encode()
USAGE = b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}'
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
QUOTING = b'{"error":{"message":"you said %b","type":"x","code":"x"}}' % PROMPT.encode()
MODELS = """json stream cut error-event refused failed credentials no-permission no-http bad-field bad-chunk bad-gzip bad-usage not-json closed silent
    long""".split()


async def upstream_script(visit: Visit) -> None:
    """A vendor for every way to fail, chosen by model."""
    try:
        model = json.loads(visit.body)["model"]
    except ValueError:
        model = "json"
    spoken = b"%x\r\n%b\r\n" % (len(SPOKEN), SPOKEN)
    if model == "json":
        headers = ("Content-Type: application/json", f"Set-Cookie: {MARK}=1", f"X-Debug: {SAID}")
        await visit.answer(
            b'{"choices":[{"message":{"content":"%b"}}],%b}' % (SAID.encode(), USAGE),
            headers=headers,
        )
    elif model == "stream":
        await visit.stream(SPOKEN, b"data: {%b}\n\n" % USAGE, b"data: [DONE]\n\n")
    elif model == "long":
        await visit.stream(*[SPOKEN * 50] * 40)  # passes marks
    elif model == "error-event":
        await visit.stream(SPOKEN, b"data: " + QUOTING + b"\n\n")
    elif model in ("refused", "failed"):
        await visit.answer(
            QUOTING, status="400 Bad Request" if model == "refused" else "500 Internal Server Error"
        )
    elif model in ("credentials", "no-permission"):
        body = b'{"error":{"message":"Incorrect API key provided: %b"}}' % UPSTREAM_KEY.encode()
        await visit.answer(
            body, status="401 Unauthorized" if model == "credentials" else "403 Forbidden"
        )
    elif model == "bad-gzip":
        await visit.answer(
            SAID.encode(), headers=("Content-Type: application/json", "Content-Encoding: gzip")
        )
    elif model == "bad-usage":
        await visit.answer(
            b'{"usage":{"prompt_tokens":"%b","completion_tokens":1,"total_tokens":["%b"]}}'
            % (SAID.encode(), SAID.encode())
        )
    elif model == "not-json":
        await visit.answer(f"<h1>{SAID}</h1>".encode())
    elif model == "silent":
        await visit.send(STREAM + spoken)
        await visit.reader.read()  # until the proxy lets go
    else:
        sent = {
            "cut": STREAM + spoken,
            "closed": b"",
            "no-http": f"{SAID} 200 OK\r\n\r\n".encode(),
            "bad-chunk": STREAM + SAID.encode(),
            "bad-field": f"HTTP/1.1 200 OK\r\n{SAID}\r\n\r\n".encode(),
        }[model]
        await visit.send(sent)
        visit.writer.close()


def request(
    body: bytes,
    *fields: str,
    line: str = "POST /v1/chat/completions HTTP/1.1",
    auth: str = f"Authorization: Bearer {KEY}",
) -> bytes:
    lines = [
        line,
        "Host: proxy",
        *([auth] if auth else []),
        f"Cookie: s={MARK}-cookie",
        f"X-Session: {MARK}-header",
        "Connection: close",
        *fields,
    ]
    return (
        "".join(f"{field}\r\n" for field in (*lines, f"Content-Length: {len(body)}")).encode(
            "latin-1"
        )
        + b"\r\n"
        + body
    )


def asking(model: str) -> bytes:
    said = {
        "model": model,
        "user": f"{MARK}-user",
        "metadata": {"other": f"{MARK}-metadata"},
        "messages": [{"role": "user", "content": PROMPT}],
    }
    return json.dumps(
        {**said, "stream": model in ("stream", "cut", "error-event", "silent", "long")}
    ).encode()


ASKED = asking("json")
SERVED = [
    *(request(asking(model)) for model in MODELS),
    request(ASKED, auth=f"x-api-key: {KEY}"),
    request(ASKED, auth=f"API-Key: {KEY}"),
]
SECRET = f"{MARK}-secret"
REFUSED = {
    "a wrong key": request(ASKED, auth=f"Authorization: Bearer sk-{SECRET}"),
    "a mistyped key of ours": request(ASKED, auth=f"Authorization: Bearer sk-tk-{SECRET}"),
    "another scheme": request(ASKED, auth=f"Authorization: Basic {SECRET}"),
    "a wrong key elsewhere": request(ASKED, auth=f"x-api-key: {SECRET}"),
    "two keys": request(ASKED, f"Authorization: Bearer {SECRET}"),
    "keys that disagree": request(ASKED, f"api-key: {SECRET}"),
    "no UTF-8": request(ASKED, auth=f"Authorization: Bearer {SECRET}\xff"),
    "no colon": request(ASKED, f"Authorization Bearer {SECRET}", auth=""),
    "space before the colon": request(ASKED, auth=f"Authorization : Bearer {SECRET}"),
    "NUL": request(ASKED, auth=f"Authorization: Bearer {SECRET}\0"),
    "a name that is no token": request(ASKED, auth=f"Authorization {SECRET}: Bearer {SECRET}"),
    "a folded line": request(ASKED, auth=f"Authorization: Bearer\r\n {SECRET}"),
    "too long": request(ASKED, auth=f"Authorization: Bearer {SECRET * 4000}"),
    "too many": request(ASKED, *[f"X-{SECRET}-{number}: {SECRET}" for number in range(200)]),
    "a key in the target": request(ASKED, line=f"POST /v1/{SECRET}?key={SECRET} HTTP/1.1"),
    "a key in a strange target": request(ASKED, line=f"POST http://{SECRET}@evil/ HTTP/1.1"),
    "a long target": request(ASKED, line=f"POST /{SECRET * 1000} HTTP/1.1"),
    "a malformed line": request(ASKED, line=f"POST /{SECRET} {SECRET} HTTP/1.1"),
    "an invented method": request(ASKED, line=f"{SECRET.upper()} / HTTP/1.1"),
    "a strange coding": request(ASKED, f"Transfer-Encoding: {SECRET}"),
    "a strange length": request(ASKED, f"Content-Length: {SECRET}"),
    "bad chunks": request(ASKED).partition(b"Content-Length")[0]
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + PROMPT.encode()
    + b"\r\n",
    "a body that is no JSON": request(PROMPT.encode()),
    "a body that ends early": request(ASKED[:-1]),
    "a body of another type": request(json.dumps([PROMPT]).encode()),
    "a model of another type": request(
        json.dumps({"model": [PROMPT], "messages": PROMPT}).encode()
    ),
    "a field that steers": request(
        json.dumps({"model": "json", "provider": {"order": [PROMPT]}}).encode()
    ),
    "a strange content coding": request(ASKED, f"Content-Encoding: {SECRET}"),
    "no gzip": request(ASKED, "Content-Encoding: gzip"),
    "too large": request(ASKED + b" " * 70_000),
    "another method": request(ASKED, line=f"PATCH /v1/chat/completions?{SECRET} HTTP/1.1"),
}


class Raw(logging.Handler):
    """The records as they were made, before anything is taken out of them."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Logged:
    """All that is logged: finished lines in both formats, and what our own loggers were given."""

    def __init__(self) -> None:
        self.streams: list[io.StringIO] = []
        self.raw = Raw()
        handlers = []
        for kind in ("text", "json"):
            self.streams.append(io.StringIO())
            logs.configure(kind, self.streams[-1], level=logging.DEBUG)  # type: ignore[arg-type]
            handlers += logging.getLogger().handlers
        logging.getLogger().handlers = [*handlers, self.raw]

    @property
    def lines(self) -> list[str]:
        own = [
            record.getMessage()
            for record in self.raw.records
            if record.name.startswith(("proxy", "tollkeeper"))
        ]
        return [*own, *(line for stream in self.streams for line in stream.getvalue().splitlines())]


@pytest.fixture
def logged() -> Iterator[Logged]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    yield Logged()
    root.handlers = handlers
    root.setLevel(level)


async def converse(address: str, sent: bytes) -> bytes:
    """All that comes back. After five seconds without an end the client leaves."""
    client = await RawClient.connect(address)
    received = b""
    with contextlib.suppress(ConnectionError):
        await client.send(sent)
        async with guard():
            while part := await client.reader.read(65536):
                received += part
                if b"silent" in sent and SPOKEN in received:
                    client.leave()
    await client.aclose()
    return received


def own_answer(received: bytes) -> bool:
    """Whether the proxy made this answer, rather than passing one on."""
    head = received.partition(b"\r\n\r\n")[0].lower()
    return b"x-tollkeeper-origin: proxy" in head or b"x-tollkeeper-id" not in head


def hits(text: bytes) -> list[bytes]:
    """What stands around each canary, whatever its case."""
    found, at = [], text.lower().find(MARK.encode())
    while at >= 0 and len(found) < 5:
        found.append(text[max(0, at - 40) : at + 40])
        at = text.lower().find(MARK.encode(), at + 1)
    return found


def files(directory: Path) -> dict[str, bytes]:
    """Every file of the data directory, compressed ones as they read."""
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(directory)): gzip.decompress(path.read_bytes())
        if path.suffix == ".gz"
        else path.read_bytes()
        for path in paths
    }


def settings(upstream: RawUpstream, **blocks: object) -> dict[str, object]:
    own = {
        "base_url": upstream.url,
        "api_key": UPSTREAM_KEY,
        "headers": {"X-Vendor-Key": f"{MARK}-vendor"},
        "query": {"sig": f"{MARK}-signature"},
    }
    made = {
        "upstreams": {"mock": own},
        "keys": {"alice": {"secret": KEY}},
        "bodies": {"max": "64KiB"},
        "log": {"requests": "all"},
    }
    return config(upstream.url, **{**made, **blocks})


async def everything(proxy: Running) -> list[bytes]:
    """One request for every way to fail; what came back for each."""
    return [await converse(proxy.address, sent) for sent in (*SERVED, *REFUSED.values())]


async def scrape(proxy: Running) -> bytes:
    return await converse(
        proxy.server.addresses.metrics,
        b"GET /metrics HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n",
    )


def search(proxy: Running, answers: list[bytes], page: bytes, logged: Logged) -> None:
    """Nothing anywhere. First, that there was something to find it in."""
    stored = files(proxy.data_dir)
    assert any(name.startswith("journal/") for name in stored) and any(
        name.startswith("ledger.db") for name in stored
    )
    assert b"tollkeeper_http_requests_total" in page and len(logged.lines) > 20
    assert {name: found for name, content in stored.items() if (found := hits(content))} == {}
    assert hits(page) == []
    assert [line for line in logged.lines if hits(line.encode())] == []
    assert [answer for answer in answers if own_answer(answer) and hits(answer)] == []
    secrets = (UPSTREAM_KEY.encode(), f"{MARK}-vendor".encode(), f"{MARK}-signature".encode())
    assert [answer for answer in answers if any(secret in answer for secret in secrets)] == []


async def test_nothing_is_found_anywhere(tmp_path: Path, logged: Logged) -> None:
    async with raw_upstream(upstream_script) as upstream:
        async with running(tmp_path, settings(upstream)) as proxy:
            answers = await everything(proxy)
            page = await scrape(proxy)
            await proxy.records(len(SERVED))
            search(proxy, answers, page, logged)
        search(proxy, answers, page, logged)  # and after the end, when all is written out
        assert len(upstream.visits) == len(SERVED)
        assert sum(SAID.encode() in answer for answer in answers) > 5  # content did pass
        for visit in upstream.visits:
            assert PROMPT.encode() in visit.body and UPSTREAM_KEY.encode() in visit.head
            assert KEY.encode() not in visit.head and b"-cookie" not in visit.head


async def test_a_callers_own_credential_passes_and_is_found_nowhere(
    tmp_path: Path, logged: Logged
) -> None:
    async with raw_upstream(upstream_script) as upstream:
        own = {"mock": {"base_url": upstream.url, "auth": "forward"}}
        async with running(tmp_path, settings(upstream, upstreams=own, keys={})) as proxy:
            # What was not refused for its key is passed on now; the vendor's answers then quote
            # what they like, to whom they concern.
            answers = [
                answer for answer in await everything(proxy) if UPSTREAM_KEY.encode() not in answer
            ]
            page = await scrape(proxy)
        search(proxy, answers, page, logged)
        assert any(f"Bearer {KEY}".encode() in visit.head for visit in upstream.visits)


FAULTS = [f"{name}=raise" for name in NAMES if name.startswith("exchange.")] + [
    "journal.open.before=enospc",
    "journal.mark.before=raise",
    "ledger.book.inside=raise@1",
    "recorder.batch.before=raise@1",
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_found_in_what_a_fault_of_ours_leaves(
    tmp_path: Path, logged: Logged, fault: str
) -> None:
    async with raw_upstream(upstream_script) as upstream:
        async with running(
            tmp_path, settings(upstream, drain={"delay": "0s", "timeout": "0s"}), failpoints=fault
        ) as proxy:
            answers = [
                await converse(proxy.address, request(asking(model)))
                for model in ("json", "stream", "long", "refused", "bad-field")
            ] * 3
            page = await scrape(proxy)
        search(proxy, answers, page, logged)


async def test_nothing_is_found_in_compressed_journals(tmp_path: Path, logged: Logged) -> None:
    async with raw_upstream(upstream_script) as upstream:
        async with running(
            tmp_path, settings(upstream, journal={"segment": "256KiB", "interval": "10ms"})
        ) as proxy:
            client = await RawClient.connect(proxy.address)
            answers = []
            async with guard():
                while not list(proxy.data_dir.rglob("*.gz")):
                    await client.send(request(ASKED).replace(b"Connection: close\r\n", b""))
                    answers.append((await client.answer()).body)
            await client.aclose()
            page = await scrape(proxy)
            found = files(proxy.data_dir)
            assert any(
                name.endswith(".gz") and b"alice" in content for name, content in found.items()
            )
        search(proxy, [], page, logged)


async def test_a_malformed_scrape_is_not_quoted_in_the_log(tmp_path: Path, logged: Logged) -> None:
    """aiohttp would quote the line that it could not read."""
    async with (
        raw_upstream(upstream_script) as upstream,
        running(tmp_path, settings(upstream)) as proxy,
    ):
        sent = f"GET /metrics HTTP/1.1\r\nHost: proxy\r\nX-Note {SECRET}\r\n\r\n".encode()
        assert b"400" in await converse(proxy.server.addresses.metrics, sent)
    assert any("a request that cannot be read was answered 400" in line for line in logged.lines)
    assert [line for line in logged.lines if hits(line.encode())] == []
