"""The clients of a crash test: raw connections that ask for every kind of answer and keep what each
of them received, byte by byte."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from tests.crash.answers import Received, Told, received, told
from tests.crash.processes import Proxy
from tests.support.waiting import guard

KEY = "sk-test"
CLIENTS = 50
CHAT = "chat/completions"
RESPONSES = "responses"
MESSAGES = "messages"


@dataclass(frozen=True)
class Scene:
    """One kind of request. `words`: how long its prompt may be; answers repeat the prompt.
    `leaves`: the client goes before the end."""

    name: str
    model: str
    stream: bool = False
    include_usage: bool = False
    words: tuple[int, int] = (1, 30)
    leaves: bool = False
    endpoint: str = CHAT
    weight: int = 2


SCENES = (
    Scene(
        "stream with usage", "demo-chat", stream=True, include_usage=True, words=(5, 80), weight=6
    ),
    Scene("usage with the finish", "demo-reports", stream=True, words=(5, 50)),
    Scene("stream without usage", "demo-silent", stream=True, words=(5, 80), weight=5),
    Scene("running totals", "demo-cumulative", stream=True, words=(5, 50)),
    Scene("json", "demo-chat", weight=6),
    Scene("json without usage", "demo-silent"),
    Scene(
        "slow stream", "demo-slow:0.02", stream=True, include_usage=True, words=(10, 60), weight=5
    ),
    Scene("slow json", "demo-slow:0.1"),
    Scene("very slow stream", "demo-slow:0.3", stream=True, words=(10, 20)),
    Scene("long stream", "demo-long:600", stream=True),
    Scene("long stream with usage", "demo-long:600", stream=True, include_usage=True, weight=1),
    Scene("compressed stream", "demo-gzip", stream=True, include_usage=True, words=(5, 60)),
    Scene("reasoning", "demo-reasoning", stream=True),
    Scene("tools", "demo-tools", stream=True, include_usage=True),
    Scene("embeddings", "demo-chat", endpoint="embeddings"),
    Scene("response stream", "demo-chat", stream=True, words=(5, 80), endpoint=RESPONSES, weight=4),
    Scene(
        "response stream without usage",
        "demo-silent",
        stream=True,
        words=(5, 80),
        endpoint=RESPONSES,
        weight=3,
    ),
    Scene("response", "demo-chat", endpoint=RESPONSES),
    Scene("message stream", "demo-chat", stream=True, words=(5, 80), endpoint=MESSAGES, weight=4),
    Scene("silent message", "demo-silent", stream=True, words=(5, 80), endpoint=MESSAGES, weight=3),
    Scene("message", "demo-chat", endpoint=MESSAGES),
    Scene("message that fails", "demo-error-event:6", stream=True, endpoint=MESSAGES, weight=1),
    Scene("cut message", "demo-cut:7", stream=True, endpoint=MESSAGES, weight=1),
    Scene(
        "left message",
        "demo-chat",
        stream=True,
        words=(20, 100),
        leaves=True,
        endpoint=MESSAGES,
        weight=2,
    ),
    Scene("slow response", "demo-slow:0.02", stream=True, words=(10, 60), endpoint=RESPONSES),
    Scene("response that fails", "demo-error-event:6", stream=True, endpoint=RESPONSES, weight=1),
    Scene("cut response", "demo-cut:7", stream=True, endpoint=RESPONSES, weight=1),
    Scene(
        "left response",
        "demo-chat",
        stream=True,
        words=(20, 100),
        leaves=True,
        endpoint=RESPONSES,
        weight=2,
    ),
    Scene("error 500", "demo-error-500"),
    Scene("error 429 to a stream", "demo-error-429", stream=True, weight=1),
    Scene("error event", "demo-error-event:4", stream=True, weight=1),
    Scene("cut stream", "demo-cut:5", stream=True, weight=1),
    Scene("closed json", "demo-close", weight=1),
    Scene("no head", "demo-no-head", weight=1),
    Scene("hang", "demo-hang", leaves=True, weight=1),
    Scene("stall", "demo-stall:3", stream=True, leaves=True, weight=1),
    Scene("left stream", "demo-chat", stream=True, words=(20, 100), leaves=True, weight=3),
    Scene(
        "left stream with usage",
        "demo-chat",
        stream=True,
        include_usage=True,
        words=(20, 100),
        leaves=True,
        weight=2,
    ),
    Scene("left json", "demo-slow:0.1", leaves=True),
)


@dataclass
class Sent:
    """One request, and the recording of what its client saw."""

    test_id: str
    scene: Scene
    body: bytes
    raw: bytes = b""
    left: bool = False  # of its own will

    @cached_property
    def answer(self) -> Received:
        return received(self.raw)

    @cached_property
    def told(self) -> Told:
        return told(self.answer.body, self.answer.headers, whole=self.answer.whole)

    @property
    def refused(self) -> str | None:
        """The code of an error that the proxy itself answered."""
        if self.answer.headers.get("x-tollkeeper-origin") != "proxy" or not self.answer.whole:
            return None
        error = json.loads(self.answer.body)["error"]
        return str(error["code"] if "code" in error else error["details"]["error_code"])

    def __str__(self) -> str:
        answer = self.answer
        saw = (
            f"status {answer.status}, {len(answer.body)} body bytes, {'whole' if answer.whole else 'not whole'}, {self.told}"
            if answer.status
            else "no head"
        )
        return f"{self.test_id} ({self.scene.name}, {self.scene.model}, {len(self.body)} bytes): {saw}{', left' if self.left else ''}"


class Load:
    """Requests from `clients` at once until the proxy is gone or `stop` is called; `sent` has all
    whose connection stood."""

    def __init__(
        self,
        proxy: Proxy,
        name: str,
        seed: str,
        clients: int = CLIENTS,
        scenes: tuple[Scene, ...] = SCENES,
    ) -> None:
        self.sent: list[Sent] = []
        # received by all clients together: how far the load has come, whatever the machine's speed
        self.pieces = 0
        self._wanted = 0
        self._reached = asyncio.Event()
        self._proxy = proxy
        self._name = name
        self._scenes = scenes
        self._stopping = False
        self._tasks = [
            asyncio.create_task(self._client(number, random.Random(f"{seed}/{name}/{number}")))
            for number in range(clients)
        ]

    def stop(self) -> None:
        """No new requests; those that run go on."""
        self._stopping = True

    async def reached(self, pieces: int) -> None:
        """Returns once the clients have received so many pieces, or the proxy is gone."""
        self._wanted = pieces
        if self.pieces >= pieces:
            return
        self._reached.clear()
        waiting = asyncio.ensure_future(self._reached.wait())
        async with guard():
            await asyncio.wait([waiting, self._proxy.ended], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    def piece(self) -> None:
        self.pieces += 1
        if self.pieces == self._wanted:
            self._reached.set()

    async def finished(self) -> list[Sent]:
        """All requests, once the last has ended."""
        self._stopping = True
        async with guard():
            await asyncio.gather(*self._tasks)
        return self.sent

    async def _client(self, number: int, rng: random.Random) -> None:
        host, _, port = self._proxy.address.rpartition(":")
        loop = asyncio.get_running_loop()
        count = 0
        while not self._stopping and not self._proxy.dead:
            count += 1
            [scene] = rng.choices(self._scenes, [scene.weight for scene in self._scenes])
            sent = Sent(f"{self._name}-{number}-{count}", scene, body(scene, rng))
            enough_bytes, leave_s = (
                rng.choice((1, 300, 1000, 3000, 10_000)),
                rng.choice((0.0, 0.002, 0.02, 0.1, 0.3)),
            )
            if scene.leaves:
                recording = _Recording(
                    sent, self.piece, lambda data, bytes_=enough_bytes: len(data) >= bytes_, leave_s
                )  # type: ignore[misc]
            else:
                recording = _Recording(sent, self.piece, lambda data: False, None)
            try:
                await loop.create_connection(lambda recording=recording: recording, host, int(port))  # type: ignore[misc]
            except OSError:
                await asyncio.wait([self._proxy.ended], timeout=0.01)
                continue
            self.sent.append(sent)
            await recording.over


async def leaving(
    proxy: Proxy,
    test_id: str,
    scene: Scene,
    *,
    after_events: int | None = None,
    after_s: float | None = None,
) -> Sent:
    """One client that goes at its own choice: when it has received so many events of a stream, or
    after so long."""
    sent = Sent(test_id, scene, body(scene, random.Random(test_id)))
    recording = _Recording(
        sent,
        lambda: None,
        lambda data: after_events is not None and data.count(b"\n\n") >= after_events,
        after_s,
    )
    host, _, port = proxy.address.rpartition(":")
    await asyncio.get_running_loop().create_connection(lambda: recording, host, int(port))
    await recording.over
    return sent


class _Recording(asyncio.Protocol):
    """One connection with one request. The client leaves when `enough` of what it has received says
    so, or after `leave_s`."""

    def __init__(
        self,
        sent: Sent,
        piece: Callable[[], None],
        enough: Callable[[bytes], bool],
        leave_s: float | None,
    ) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sent = sent
        self._piece = piece
        self._enough = enough
        self._leave_s = leave_s
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sent = self._sent
        head = (
            f"POST /v1/{sent.scene.endpoint} HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"x-test-id: {sent.test_id}\r\nx-end-user: {sent.test_id}\r\nContent-Length: {len(sent.body)}\r\n\r\n"
        )
        transport.write(head.encode() + sent.body)
        if self._leave_s is not None:
            asyncio.get_running_loop().call_later(self._leave_s, self._leave)

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._piece()
        if self._enough(self._data):
            self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._sent.raw = self._data
        self.over.set_result(None)

    def _leave(self) -> None:
        if not self.over.done() and not self._transport.is_closing():
            self._sent.left = True
            self._transport.abort()


def body(scene: Scene, rng: random.Random) -> bytes:
    """A request of this kind."""
    text = " ".join(
        rng.choice(("toll", "bridge", "keeper", "中文", "ünïcode", "\\", "x"))
        for _ in range(rng.randint(*scene.words))
    )
    if scene.endpoint == "embeddings":
        return json.dumps({"model": scene.model, "input": text}).encode()
    value: dict[str, object] = {"model": scene.model}
    if scene.endpoint == RESPONSES:
        value["input"] = text
    else:
        value["messages"] = [{"role": "user", "content": text}]
    if scene.endpoint == MESSAGES:
        value["max_tokens"] = 4096
    if scene.stream:
        value["stream"] = True
    if scene.include_usage:
        value["stream_options"] = {"include_usage": True}
    return json.dumps(value).encode()
