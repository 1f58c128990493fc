"""What the official SDKs raise through the proxy: its own refusals by type and code, the vendor's
errors and broken answers as without it, retries as the vendor asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.clients.cases import Case, chat
from tests.clients.deployment import Deployment
from tests.clients.drivers import CLIENTS, Both, Node, Seen, python_async
from tests.support.raw import Visit, raw_upstream
from tests.support.running import KEY, config, running

SDKS = [name for name in CLIENTS if name != "curl"]
DIRECT_KEY = "sk-direct"

# name: (body, status, what both SDKs raise, code, param)
REFUSED = {
    "ambiguous": (
        chat("gpt-4o", "hi") | {"MODEL": "dear"},
        400,
        "BadRequestError",
        "ambiguous_body",
        None,
    ),
    "steered": (
        chat("gpt-4o", "hi") | {"models": ["a", "b"]},
        403,
        "PermissionDeniedError",
        "field_not_allowed",
        "models",
    ),
    "unrouted": (chat("gpt-4p", "hi"), 404, "NotFoundError", "model_not_found", None),
    "unrouted stream": (
        chat("gpt-4p", "hi", stream=True),
        404,
        "NotFoundError",
        "model_not_found",
        None,
    ),
    "our key rejected": (
        chat("demo-error-401", "hi"),
        502,
        "InternalServerError",
        "upstream_rejected_credentials",
        None,
    ),
    "our key forbidden": (
        chat("demo-error-403", "hi", stream=True),
        502,
        "InternalServerError",
        "upstream_rejected_credentials",
        None,
    ),
}
STYLES = "openai mistral anthropic detail string llamacpp text html".split()
VENDORS_ERRORS = [
    *(
        chat(f"demo-error-{status}", "hi", stream=stream)
        for status in (400, 404, 409, 422, 429, 500, 503)
        for stream in (False, True)
    ),
    *(chat(f"demo-error-{status}:{style}", "hi") for status in (400, 503) for style in STYLES),
]
# What is cut arrives up to the cut: an error in the stream, an end without the end, a connection
# closed too early.
BROKEN = [
    chat(model, "Tell me a short story.", stream=True)
    for model in ("demo-error-event:5", "demo-close:6", "demo-error-event:0")
]
BROKEN_JSON = [chat(model, "hi") for model in ("demo-close", "demo-error-event", "demo-html")]


Run = Callable[[str, list[Case], str], tuple[list[Seen], list[Seen]]]


@pytest.fixture
def run(vendors: Deployment, clients: dict[str, Both], tmp_path: Path) -> Run:
    """Runs the cases with that client, without the proxy and then, with that key, through it."""
    return lambda client, cases, key: clients[client](
        tmp_path, (vendors.direct, DIRECT_KEY), (vendors.proxied, key), cases
    )


@pytest.mark.parametrize("client", SDKS)
def test_a_refusal_is_the_sdks_own_error(run: Run, client: str) -> None:
    asked = [Case(name=name, body=row[0]) for name, row in REFUSED.items()]
    _, seen = run(client, asked, f"sk-{client}-errors")
    for one, (_, status, kind, code, param) in zip(seen, REFUSED.values(), strict=True):
        assert one.error is not None, one.name
        assert (one.error["status"], one.error["type"], one.error["code"]) == (
            status,
            kind,
            code,
        ), one.name
        assert param is None or one.error["param"] == param
        assert one.id is not None and one.id in str(one.error["message"]), "the id to quote"
        assert "sk-at-modelverse" not in str(one.error)


@pytest.mark.parametrize("client", SDKS)
def test_a_wrong_key_is_an_authentication_error(vendors: Deployment, run: Run, client: str) -> None:
    before = len(vendors.arrived())
    direct, [one] = run(client, [Case(name="hi", body=chat("gpt-4o", "hi"))], "sk-wrong")
    assert one.error is not None
    assert (one.error["status"], one.error["type"], one.error["code"]) == (
        401,
        "AuthenticationError",
        "invalid_api_key",
    )
    assert "sk-wrong" not in str(one.error)
    assert len(vendors.arrived()) - before == len(direct), "nothing went upstream"


@pytest.mark.parametrize("client", SDKS)
def test_the_vendors_errors_pass(vendors: Deployment, run: Run, client: str) -> None:
    direct, proxied = run(
        client,
        [Case(name=str(body["model"]), body=body) for body in VENDORS_ERRORS],
        f"sk-{client}-vendor_errors",
    )
    rows = vendors.rows(f"{client}-vendor_errors", len(proxied))
    for one, other in zip(direct, proxied, strict=True):
        assert (
            other.result() == one.result() and one.error is not None and other.error is not None
        ), one.name
        assert vendors_headers(other) == vendors_headers(one)
        assert header(other, "x-tollkeeper-origin") == "upstream"
        assert other.id is not None
        row = rows[other.id]
        assert (row["outcome"], row["status"], row["input_tokens"], row["output_tokens"], row["source"]) == (
            "rejected_upstream", one.error["status"], 0, 0, "none"
        ), one.name  # fmt: skip


def header(seen: Seen, name: str) -> object:
    assert seen.error is not None and isinstance(seen.error["headers"], dict)
    return seen.error["headers"].get(name)


def vendors_headers(seen: Seen) -> dict[str, object]:
    names = (
        "content-type",
        "retry-after",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        "server",
    )
    return {name: header(seen, name) for name in names}


@pytest.mark.parametrize("client", SDKS)
def test_a_broken_answer_breaks_as_without_the_proxy(
    vendors: Deployment, run: Run, client: str
) -> None:
    bodies = [*BROKEN, *BROKEN_JSON]
    direct, proxied = run(
        client, [Case(name=str(body["model"]), body=body) for body in bodies], f"sk-{client}-broken"
    )
    rows = vendors.rows(f"{client}-broken", len(bodies))
    for one, other in zip(direct, proxied, strict=True):
        assert other.result() == one.result(), one.name
    event, cut, first_event, whole, error_body, _ = proxied
    assert (
        event.error is not None
        and event.error["type"] == "APIError"
        and "had an error" in str(event.error["message"])
    )
    assert isinstance(event.parsed, list) and len(event.parsed) == 5
    assert cut.error is not None and isinstance(cut.parsed, list) and len(cut.parsed) == 6, (
        "raised, and nothing that had arrived is lost"
    )
    assert first_event.error is not None and first_event.parsed == []
    assert whole.error is not None and whole.error["status"] is None, (
        "half of an answer is no answer"
    )
    endings = [
        (rows[str(one.id)]["outcome"], rows[str(one.id)]["source"])
        for one in (event, cut, first_event, error_body)
    ]
    partial, nothing = ("upstream_failed", "partial"), ("upstream_failed", "none")
    assert endings == [partial, partial, nothing, nothing], "an error alone is no answer"
    said = sum(len(text(chunk).encode()) for chunk in cut.parsed)
    assert rows[str(cut.id)]["output_tokens"] == -(-said // 4), "charged as delivered"


def text(chunk: object) -> str:
    assert isinstance(chunk, dict)
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


@pytest.mark.parametrize("client", SDKS)
def test_a_reset_and_a_missing_answer_are_raised(
    vendors: Deployment, run: Run, client: str
) -> None:
    bodies = [chat("demo-cut:4", "Tell me a short story.", stream=True), chat("demo-no-head", "hi")]
    _, [reset, silent] = run(
        client, [Case(name=str(body["model"]), body=body) for body in bodies], f"sk-{client}-cut"
    )
    rows = vendors.rows(f"{client}-cut", 2)
    assert reset.error is not None and reset.error["status"] is None
    assert rows[str(reset.id)]["outcome"] == "upstream_failed"
    assert silent.error is not None
    assert (silent.error["status"], silent.error["type"], silent.error["code"]) == (
        502,
        "InternalServerError",
        "upstream_failed",
    )
    assert (rows[str(silent.id)]["status"], rows[str(silent.id)]["source"]) == (None, "none")


# Retries: the SDK decides, by the vendor's own words.

ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
).encode()
LIMITED = (
    b'{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}'
)
Retrying = Callable[[str, Case], Awaitable[Seen]]


@pytest.fixture(params=["python", "node"])
def retrying(request: pytest.FixtureRequest, node: Node) -> Retrying:
    """One call of a client with the SDK's usual two retries."""

    async def in_python(base_url: str, case: Case) -> Seen:
        [seen] = await python_async(base_url, KEY, [case], max_retries=2)
        return seen

    async def in_node(base_url: str, case: Case) -> Seen:
        [[seen]] = await asyncio.to_thread(node.run, [(base_url, KEY)], [case], max_retries=2)
        return seen

    return in_python if request.param == "python" else in_node


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_a_vendor_that_asks_for_a_retry_gets_it_from_the_client(
    tmp_path: Path, retrying: Retrying, status: str
) -> None:
    async def script(visit: Visit) -> None:
        if len(upstream.visits) == 1:
            await visit.answer(
                LIMITED,
                status=status,
                headers=("Content-Type: application/json", "retry-after-ms: 1", "retry-after: 1"),
            )
        else:
            await visit.answer(ANSWER)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        seen = await retrying(proxy.base_url, Case(name="hi", body=chat("m", "hi")))
        assert seen.error is None
        assert [visit.header("x-stainless-retry-count") for visit in upstream.visits] == [
            b"0",
            b"1",
        ]
        rows = await proxy.records(2)
        assert [(row["status"], row["outcome"], row["client_retry_count"], row["output_tokens"]) for row in rows] == [
            (int(status[:3]), "rejected_upstream", 0, 0), (200, "completed", 1, 2)
        ]  # fmt: skip


async def test_a_vendor_that_forbids_retries_is_obeyed(tmp_path: Path, retrying: Retrying) -> None:
    """`x-should-retry: false` and a long `retry-after` reach the client unchanged; the proxy itself
    never retries."""

    async def script(visit: Visit) -> None:
        headers = (
            "Content-Type: application/json",
            "retry-after: 3600",
            "x-should-retry: false",
            "x-ratelimit-limit-requests: 60",
            "x-request-id: r-1",
        )
        await visit.answer(LIMITED, status="429 Too Many Requests", headers=headers)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        seen = await retrying(proxy.base_url, Case(name="hi", body=chat("m", "hi", stream=True)))
        assert seen.error is not None
        assert (seen.error["status"], seen.error["type"], seen.error["code"]) == (
            429,
            "RateLimitError",
            "rate_limit_exceeded",
        )
        passed = (
            "retry-after",
            "x-should-retry",
            "x-ratelimit-limit-requests",
            "x-request-id",
            "x-tollkeeper-origin",
        )
        assert [header(seen, name) for name in passed] == ["3600", "false", "60", "r-1", "upstream"]
        assert len(upstream.visits) == 1
        await proxy.records(1)
