"""Many clients at once, each with a fate of its own, and a vendor that bills each of them something
else: what limits are tried with, through real HTTP."""

from __future__ import annotations

import asyncio
import enum
import json
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.support.raw import RawClient, Visit
from tests.support.wires import WIRES, Event, Wire

BODY_BYTES = 200
_IN_TURN = tuple(WIRES.values())
_NAME = re.compile(rb'"m-[a-z]*(\d+)"')


class Fate(enum.Enum):
    """When a client leaves."""

    STAYS = "stays"
    UNHEARD = "leaves without having heard anything"
    AT_HEAD = "leaves at the head of its answer"
    INSIDE = "leaves inside its answer"


class Heard(enum.Enum):
    """What a client was told."""

    SERVED = "let through"
    REFUSED = "refused"
    NOTHING = "left unheard"


@dataclass(frozen=True)
class Asked:
    """A request: its number is in the name of its model, so that ledger and upstream can tell.
    `input_tokens` and `output_tokens` are the true ones, which
    the vendor states if it `states`; for `turns` of the loop client and vendor take their time. A
    vendor that `lingers` for a client who leaves goes on once the
    proxy has let go of it, where it does."""

    number: int
    stream: bool
    cap: int | None
    fate: Fate
    turns: int
    input_tokens: int
    output_tokens: int
    states: bool
    body_bytes: int = BODY_BYTES
    family: str = ""
    ending: str = "whole"  # or: reset, error, no head; unreachable: of a vendor that is not there
    lingers: bool = False

    @property
    def wire(self) -> Wire:
        """The wires take turns."""
        return _IN_TURN[self.number % len(_IN_TURN)]

    @property
    def usage(self) -> Event | None:
        """What its vendor states."""
        if not self.states:
            return None
        return self.wire.usage(self.input_tokens, self.output_tokens)

    @property
    def model(self) -> str:
        return f"m-{self.family}{self.number:06}"

    @property
    def body(self) -> bytes:
        """Of exactly `body_bytes`."""
        fields: dict[str, object] = {"model": self.model, "stream": self.stream}
        if self.cap is not None:
            fields[self.wire.cap] = self.cap
        room = self.body_bytes - len(json.dumps(fields | self.wire.prompt("")))
        assert room >= 0
        return json.dumps(fields | self.wire.prompt("x" * room)).encode()


class Vendor:
    """Answers each request as it is written in `asked`, once the gate is open. `arrived` is its
    log."""

    def __init__(
        self, asked: dict[int, Asked], arrival: Callable[[Asked], Awaitable[None]] | None = None
    ) -> None:
        self.asked = asked
        self.arrived: list[int] = []
        self.gate = asyncio.Event()
        self._arrival = arrival

    async def __call__(self, visit: Visit) -> None:
        found = _NAME.search(visit.body)
        assert found is not None, visit.body
        asked = self.asked[int(found[1])]
        self.arrived.append(asked.number)
        if self._arrival is not None:
            await self._arrival(asked)
        await self.gate.wait()
        await _turns(asked.turns)
        if asked.lingers and asked.fate is Fate.UNHEARD and asked.stream:
            await visit.reader.read(1)  # until the proxy has closed it
            visit.reset()
        elif asked.ending == "no head":
            visit.reset()
        elif asked.ending == "error":
            await visit.answer(b'{"error":{"message":"no"}}', status="400 Bad Request")
        elif asked.stream:
            await self._stream(visit, asked)
        else:
            text = "abc " * asked.output_tokens
            said = asked.wire.whole(text, asked.usage, asked.model)
            await visit.answer(json.dumps(said).encode())

    async def _stream(self, visit: Visit, asked: Asked) -> None:
        """Each token is four bytes of text, in eight events."""
        wire, usage = asked.wire, asked.usage
        await visit.stream(end=False)
        for event in wire.first(usage, asked.model):
            await _chunk(visit, wire.frame(event))
        step = max(1, asked.output_tokens // 8)
        for start in range(0, asked.output_tokens, step):
            text = "abc " * min(step, asked.output_tokens - start)
            await _chunk(visit, wire.frame(wire.piece(text, asked.model)))
            await _turns(asked.turns)
            if asked.lingers and start >= step:
                await visit.reader.read(1)
            if visit.reader.at_eof() or (asked.ending == "reset" and start >= step):
                visit.reset()
                return
        for event in wire.last(usage, asked.model):
            await _chunk(visit, wire.frame(event))
        await visit.send(b"0\r\n\r\n")


async def guest(address: str, asked: Asked, gate: asyncio.Event, key: str = "sk-test") -> Heard:
    """One client, to its end or its leaving: who leaves does so once the gate is open, and is
    refused before if it must be."""
    client = await RawClient.connect(address)
    await client.post(asked.body, path=asked.wire.path, key=key)
    head, opened = asyncio.ensure_future(client.head()), asyncio.ensure_future(gate.wait())
    try:
        await asyncio.wait([head, opened], return_when=asyncio.FIRST_COMPLETED)
        if asked.fate is Fate.UNHEARD and not head.done():
            await _turns(asked.turns)
            client.leave()
            return Heard.NOTHING
        status, raw = await head
        if status == 429:
            answer = await client.rest(status, raw)
            assert asked.wire.code(json.loads(answer.body)) in (
                "insufficient_quota",
                "rate_limit_exceeded",
            ), answer
            return Heard.REFUSED
        if asked.ending == "whole":
            assert status == 200, (status, raw)
        if asked.fate is Fate.INSIDE and asked.stream and status == 200:
            await client.chunk()
        if asked.fate in (Fate.AT_HEAD, Fate.INSIDE):
            client.leave()
        else:
            await client.rest(status, raw)
        return Heard.SERVED
    finally:
        head.cancel()
        opened.cancel()
        await asyncio.gather(head, opened, return_exceptions=True)
        await client.aclose()


def anybody(
    dice: random.Random,
    number: int,
    *,
    cap: int | None,
    input_max: int,
    output_max: int,
    leaving: float = 0.4,
    **fields: object,
) -> Asked:
    """Somebody of the crowd, by chance."""
    fate = (
        dice.choice([Fate.UNHEARD, Fate.AT_HEAD, Fate.INSIDE])
        if dice.random() < leaving
        else Fate.STAYS
    )
    known: dict[str, object] = {
        "stream": dice.random() < 0.6, "fate": fate, "turns": dice.choice([0, 0, 1, 3, 10, 40]), "states": dice.random() < 0.7,
        "lingers": fate is not Fate.STAYS and dice.random() < 0.7, "ending": dice.choice(["reset", "error", "no head"]) if dice.random() < 0.1 else "whole",
        "input_tokens": dice.randint(1, input_max), "output_tokens": dice.choice([0, 1, output_max, dice.randint(0, output_max)]),
    }  # fmt: skip
    return Asked(number=number, cap=cap, **{**known, **fields})  # type: ignore[arg-type]


async def _turns(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def _chunk(visit: Visit, data: bytes) -> None:
    await visit.send(b"%x\r\n%b\r\n" % (len(data), data))
