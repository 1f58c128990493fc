"""Finds out what an upstream really does: its models, and when a tiny stream states its usage.

`tollkeeper check --connect` shows the findings. It costs a few tokens, which no ledger holds:
nothing here goes through the proxy.
"""

from __future__ import annotations

import asyncio
import re
from typing import Literal

import msgspec

from proxy import __version__
from proxy.core.dialects.contract import Dialect
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.registry import BY_ENDPOINT, api_of, listing
from proxy.core.http.headers import first_text
from proxy.core.usage import Usage
from proxy.dataplane.snapshot import Snapshot
from proxy.dataplane.upstream.fetch import Fetch, Fetched, listed
from proxy.dataplane.upstream.pool import ConnectError
from proxy.dataplane.upstream.pools import pool_of
from proxy.dataplane.upstream.upstream import Upstream

ANSWER_S = 30.0  # for one answer, whole: models that think before they write need a few seconds
OUTPUT_TOKENS_MAX = 16
# What is tried, the most usual first, with the members that can cap an answer: the second where a
# vendor refuses the first, as OpenAI does for models that reason.
TRIED = {
    "/v1/chat/completions": ("max_tokens", "max_completion_tokens"),
    "/v1/messages": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
}
MODELS_TRIED_MAX = 3  # of those without a literal route the first may be no chat model
_HEADERS = (
    (b"User-Agent", f"tollkeeper/{__version__}".encode()),
    (b"Accept", b"*/*"),
    (b"Accept-Encoding", b"identity"),
)
_NO_CHAT = re.compile(
    r"embed|rerank|whisper|tts|audio|speech|image|dall-e|video|moderation|guard|ocr", re.IGNORECASE
)
# An error code in words: never a key that the error's text may quote.
_CODE = re.compile(r"[a-z]+(_[a-z]+)*")

# Refusals of the credential, or of this moment.
_OTHER_REFUSALS = frozenset({401, 403, 408, 409, 421, 425, 429})

StreamUsage = Literal["unasked", "asked", "refused", "never"]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one upstream. `usable` is False if requests to it must fail now.

    `models`: how many it lists, None if it lists none. `stream_usage`: when a stream states its
    usage; None if that could not be tried. `findings` are sentences
    for people, the advice last; `tokens` what the answers stated to have used.
    """

    upstream: str
    usable: bool
    models: int | None = None
    model: str | None = None
    stream_usage: StreamUsage | None = None
    findings: tuple[str, ...] = ()
    tokens: int = 0


class Heard(msgspec.Struct, frozen=True):
    """One answer to a tiny stream: its status, the usage it states, and what is wrong with it."""

    status: int | None
    usage: Usage | None
    fault: str | None

    @property
    def refused(self) -> bool:
        """Whether the vendor refuses what was asked, not us or the moment."""
        return (
            self.status is not None
            and 400 <= self.status < 500
            and self.status not in _OTHER_REFUSALS
        )


async def probe(snapshot: Snapshot, names: tuple[str, ...] = ()) -> list[Probe]:
    """The upstreams of these names, or all, each probed on its own at the same time. Closes their
    connections."""
    probers = [
        _Prober(snapshot, upstream)
        for name, upstream in snapshot.upstreams.items()
        if not names or name in names
    ]
    return await asyncio.gather(*(prober.run() for prober in probers))


class _Failed(Exception):
    """The upstream cannot be used; the message says why."""


class _NoAnswer(Exception):
    """A request got no whole answer; the message says why, as part of a sentence."""


class _Prober:
    """One upstream's probe."""

    def __init__(self, snapshot: Snapshot, upstream: Upstream) -> None:
        self._snapshot = snapshot
        self._upstream = upstream
        self._pool = pool_of(upstream)
        self._findings: list[str] = []
        self._models: int | None = None
        self._listed: list[str] = []
        # The status by which the list of models refused our credential.
        self._rejected: int | None = None
        self._model: str | None = None
        self._stream_usage: StreamUsage | None = None
        self._tokens = 0

    async def run(self) -> Probe:
        usable = True
        try:
            await self._ask()
        except _Failed as error:
            usable = False
            self._findings.append(str(error))
        finally:
            await self._pool.aclose()
        return Probe(
            upstream=self._upstream.name,
            usable=usable,
            models=self._models,
            model=self._model,
            stream_usage=self._stream_usage,
            findings=tuple(self._findings),
            tokens=self._tokens,
        )

    async def _ask(self) -> None:
        own = self._upstream.settings.auth == "own"
        if not self._upstream.configured:
            raise _Failed(f"It has no API key yet: set {self._setting('api_key')}.")
        await self._list_models()
        if not own:
            self._findings.append(
                "It answers. It takes each caller's own key, so no stream could be tried."
            )
            return
        candidates = self._candidates()
        if not candidates:
            if self._rejected is not None:
                raise self._refused_credential(self._rejected)
            self._findings.append(
                "It answers. No stream could be tried: no route names a model of it literally, and"
                " it lists none that a route leads to."
            )
            return
        served = [one for one in TRIED if api_of(one) in self._upstream.settings.apis]
        if not served:
            self._findings.append(
                f"It answers. No stream could be tried: {self._setting('apis')} names neither chat"
                " nor messages nor responses."
            )
            return
        endpoint = served[0]
        body, plain = await self._try_models(endpoint, candidates)
        asked, ask = plain, BY_ENDPOINT[endpoint].ask_for_usage
        if ask is not None:
            spliced = ask(body, BY_ENDPOINT[endpoint].read_call(endpoint, body))
            assert spliced is not None, "a stream that does not ask can always be asked"
            asked = await self._stream(endpoint, spliced)
        for other in served[1:]:
            await self._try_other(other)
        self._compare(plain, asked)

    async def _list_models(self) -> None:
        try:
            target, fields = listing(self._upstream.settings.apis)
            head = self._upstream.head("GET", target, (*_HEADERS, *fields), None)
            answer = await self._fetch(head)
        except _NoAnswer as error:
            self._findings.append(f"It was asked for its models: {error}.")
            return
        if answer.status in (401, 403):
            self._rejected = answer.status  # or the key may not list models: a stream will tell
        self._listed = [
            name for entry in listed(answer) if isinstance(name := entry.get("id"), str)
        ]
        self._models = len(self._listed) or None
        self._findings.append(
            f"It lists {len(self._listed)} models."
            if self._listed
            else f"It lists no models (status {answer.status})."
        )

    def _candidates(self) -> list[str]:
        """The models to try, in this order: those that a route to this upstream spells out, then
        those it lists itself and is given."""
        literal = [
            route.as_ or route.model
            for route in self._snapshot.settings.routes
            if not set("*?") & set(route.model)
            and self._snapshot.upstream_for(route.model) is self._upstream
        ]
        listed = [
            name
            for name in self._listed
            if not _NO_CHAT.search(name) and self._snapshot.upstream_for(name) is self._upstream
        ]
        return [*dict.fromkeys([*literal, *listed])][:MODELS_TRIED_MAX]

    async def _try_models(self, endpoint: str, candidates: list[str]) -> tuple[bytes, Heard]:
        """The first request that is answered with a stream, and the answer; _Failed if none is."""
        failures: list[str] = []
        for model in candidates:
            for cap in TRIED[endpoint]:
                body = _tiny(endpoint, model, cap)
                heard = await self._stream(endpoint, body)
                if heard.fault is None:
                    self._model = model
                    self._findings += failures
                    return body, heard
                if heard.status not in (400, 422):
                    break
            if heard.status == 401 or (heard.status == 403 and self._rejected is not None):
                raise self._refused_credential(heard.status)
            failures.append(f"`{model}`: {heard.fault}.")
        self._findings += failures
        raise _Failed("None of the models that were tried answers.")

    async def _try_other(self, endpoint: str) -> None:
        """Whether it serves another API too that its `apis` name, with the model that answers."""
        assert self._model is not None, "one was found"
        body = _tiny(endpoint, self._model, TRIED[endpoint][0])
        heard = await self._stream(endpoint, body)
        if heard.fault is None:
            stated = "which states its usage" if heard.usage is not None else "without a usage"
            self._findings.append(f"It serves {endpoint}, {stated}.")
            return
        advice = "Try again."
        if heard.refused:
            advice = (
                f"If it does not serve that API, take `{api_of(endpoint)}` out of"
                f" {self._setting('apis')}, so that callers are told so."
            )
        self._findings.append(
            f"It does not answer `{self._model}` at {endpoint} ({heard.fault}). {advice}"
        )

    async def _stream(self, endpoint: str, body: bytes) -> Heard:
        dialect = BY_ENDPOINT[endpoint]
        _, fields = ("", ()) if dialect.list_models is None else dialect.list_models
        headers = (*_HEADERS, *fields, (b"Content-Type", b"application/json"))
        try:
            head = self._upstream.head("POST", endpoint, headers, len(body))
            answer = await self._fetch(head + body)
        except _NoAnswer as error:
            return Heard(None, None, str(error))
        heard = _heard(
            answer, dialect, cached_inside_input=self._upstream.cached_inside_input(dialect)
        )
        if heard.usage is not None:
            self._tokens += sum(
                count
                for count in (heard.usage.input_tokens, heard.usage.output_tokens)
                if count is not None
            )
        return heard

    def _compare(self, plain: Heard, asked: Heard) -> None:
        """What the two answers to the same request say about when a stream states its usage."""
        inject = self._upstream.settings.stream_usage == "inject"
        setting = self._setting("stream_usage")
        said = f"Tried with `{self._model}`: "
        if plain.usage is not None:
            self._stream_usage = "unasked"
            said += (
                "each stream states its usage, asked or not. Nothing is estimated under either"
                " `stream_usage`."
            )
        elif asked.fault is not None and not asked.refused:
            said += (
                f"a stream that is asked for its usage got no usable answer ({asked.fault}), so"
                " what it states is not known. Try again."
            )
        elif asked.fault is not None:
            self._stream_usage = "refused"
            said += (
                f"a stream that is asked for its usage is refused ({asked.fault}), so those of"
                " callers are estimated."
            )
            said += (
                f" Set {setting}: observe, which saves the refused attempt."
                if inject
                else " `inject` would not help."
            )
        elif asked.usage is not None:
            self._stream_usage = "asked"
            said += "a stream states its usage if it is asked for it. "
            said += (
                "`stream_usage: inject` asks."
                if inject
                else f"Set {setting}: inject, or streams whose callers do not ask are estimated."
            )
        else:
            self._stream_usage = "never"
            said += "no stream states its usage, asked or not, so all are estimated."
        self._findings.append(said)
        usage = plain.usage if plain.usage is not None else asked.usage
        if usage is not None and usage.inconsistent:
            self._findings.append(self._contradiction(usage))

    def _contradiction(self, usage: Usage) -> str:
        cache = sum(
            count for count in (usage.cached_tokens, usage.cache_write_tokens) if count is not None
        )
        prompt = None if usage.raw is None else usage.raw.get("prompt_tokens")
        if isinstance(prompt, int) and cache > prompt:
            setting = f"{self._setting('cached_inside_input')}: false"
            return (
                f"It counts {cache} cached tokens beside {prompt} prompt tokens: set {setting}, or"
                " the cached ones are booked only where they are more than the others."
            )
        return "Its counts contradict each other: its records will be flagged `inconsistent`."

    async def _fetch(self, request: bytes) -> Fetched:
        try:
            connection = await self._pool.acquire()
        except ConnectError as error:
            raise _Failed(
                f"It cannot be reached: {error}. Check {self._setting('base_url')}."
            ) from error
        fetch = Fetch(self._upstream, self._pool, connection)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await fetch.run(request)
        except TimeoutError:
            raise _NoAnswer(f"no whole answer within {ANSWER_S:g} s") from None
        except OSError as error:
            raise _NoAnswer("the answer was broken off") from error
        finally:
            fetch.end()

    def _refused_credential(self, status: int) -> _Failed:
        return _Failed(
            f"It refuses the credential (status {status}): check {self._setting('api_key')}."
        )

    def _setting(self, name: str) -> str:
        return f"upstreams.{self._upstream.name}.{name}"


def _tiny(endpoint: str, model: str, cap: str) -> bytes:
    """A stream that costs next to nothing."""
    said = {"role": "user", "content": "Hi"}
    prompt = "input" if endpoint == "/v1/responses" else "messages"
    asked = {"model": model, prompt: [said], "stream": True, cap: OUTPUT_TOKENS_MAX}
    return msgspec.json.encode(asked)


def _heard(answer: Fetched, dialect: Dialect, *, cached_inside_input: bool) -> Heard:
    """The answer to a stream as the proxy's own meter reads it."""
    content_type = first_text(answer.headers, b"content-type")
    meter = dialect.open_meter(
        stream=True,
        status=answer.status,
        content_type=content_type,
        content_encoding=first_text(answer.headers, b"content-encoding"),
        cached_inside_input=cached_inside_input,
    )
    meter.feed(answer.body)
    meter.end()
    fault = None
    if answer.status >= 300:
        code = _error_code(answer.body)
        fault = f"status {answer.status}" + ("" if code is None else f", {code}")
    elif meter.error:
        fault = "an error inside its answer"
    elif meter.unreadable:
        fault = "an answer that is neither a stream nor JSON"
    elif not meter.answered and (meter.usage is None or not meter.usage.states_use):
        fault = "an answer that holds none"
    return Heard(answer.status, meter.usage, fault)


def _error_code(body: bytes) -> str | None:
    """The error's code, or else its type, where it is a word: its text may quote the credential."""
    try:
        error = msgspec.json.decode(body)
    except JSON_ERRORS:
        return None
    inner = error.get("error", error) if isinstance(error, dict) else None
    words = [inner.get("code"), inner.get("type")] if isinstance(inner, dict) else []
    return next((word for word in words if isinstance(word, str) and _CODE.fullmatch(word)), None)
