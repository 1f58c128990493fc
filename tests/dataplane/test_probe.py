"""What is found out about an upstream: one row a behaviour, seen from the findings and from what
reached the upstream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from proxy.config.loader import load
from proxy.dataplane import probe as probing
from proxy.dataplane.probe import Probe, probe
from proxy.dataplane.snapshot import Snapshot
from proxy.scripted_upstream import RequestLine, Script, read_log, serving
from tests.core.dialects.openai_chat.golden import GOLDENS
from tests.support.raw import Script as Raw
from tests.support.raw import Visit, raw_upstream
from tests.support.running import config

SECRET = "sk-upstream-canary"


def written(directory: Path, settings: dict[str, object]) -> Snapshot:
    (directory / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return Snapshot(load(directory / "config.yaml", {}).settings)


def snapshot(directory: Path, base_url: str, *models: str, **upstream: object) -> Snapshot:
    """One upstream `mock`, routes to it for these models."""
    settings = config(
        base_url,
        upstreams={"mock": {"base_url": base_url, "api_key": SECRET, **upstream}},
        routes=[{"model": model, "upstream": "mock"} for model in models or ("*",)],
    )
    return written(directory, settings)


async def found(directory: Path, base_url: str, *models: str, **upstream: object) -> Probe:
    [found] = await probe(snapshot(directory, base_url, *models, **upstream))
    assert SECRET not in str(found)
    return found


@pytest.mark.parametrize(
    ("model", "stream_usage", "setting", "advice"),
    [
        ("demo-chat", "asked", "observe", "Set upstreams.mock.stream_usage: inject"),
        ("demo-chat", "asked", "inject", "`stream_usage: inject` asks."),
        ("demo-reports", "unasked", "observe", "Nothing is estimated"),
        ("demo-cumulative", "unasked", "observe", "Nothing is estimated"),
        ("llama-3.3-70b-instruct", "unasked", "observe", "Nothing is estimated"),
        ("demo-silent", "never", "inject", "all are estimated"),
        ("demo-json", "unasked", "observe", "Nothing is estimated"),
    ],
)
async def test_when_a_stream_states_its_usage(
    tmp_path: Path, model: str, stream_usage: str, setting: str, advice: str
) -> None:
    async with serving(Script(log=tmp_path / "log")) as upstream:
        mock = await found(tmp_path, upstream.base_url, model, stream_usage=setting)
    assert (mock.usable, mock.model, mock.stream_usage) == (True, model, stream_usage)
    assert advice in mock.findings[-1]
    assert (mock.tokens > 0) == (stream_usage != "never")
    paths = [line.path for line in read_log(tmp_path / "log") if isinstance(line, RequestLine)]
    chats = ["/v1/chat/completions"] * 2
    assert paths == ["/v1/models", *chats, "/v1/responses"], "that is all it costs"


@pytest.mark.parametrize(
    ("apis", "tried"),
    [
        (["chat", "responses", "messages"], ["chat/completions"] * 2 + ["messages", "responses"]),
        (["responses"], ["responses"]),
        (["chat", "embeddings"], ["chat/completions"] * 2),
    ],
)
async def test_each_api_is_tried_that_the_config_names(
    tmp_path: Path, apis: list[str], tried: list[str]
) -> None:
    log = tmp_path / "log"
    async with serving(Script(log=log)) as upstream:
        mock = await found(tmp_path, upstream.base_url, "demo-chat", apis=apis)
    asked = [line for line in read_log(log) if isinstance(line, RequestLine)]
    assert [line.path for line in asked][1:] == [f"/v1/{path}" for path in tried]
    others = list(dict.fromkeys(tried))[1:]
    said = [finding for finding in mock.findings if finding.startswith("It serves")]
    assert said == [f"It serves /v1/{path}, which states its usage." for path in others]
    assert mock.usable


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("404 Not Found", "take `responses` out of upstreams.mock.apis"),
        ("503 Unavailable", "Try again."),
    ],
)
async def test_an_api_that_is_not_served_is_told(tmp_path: Path, status: str, advice: str) -> None:
    async def vendor(visit: Visit) -> None:
        if b"/responses" in visit.lines[0]:
            await visit.answer(b'{"error":{"message":"no"}}', status=status)
        elif b"/models" in visit.lines[0]:
            await visit.answer(b'{"data":[]}')
        else:
            await visit.stream(b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n')

    async with raw_upstream(vendor) as upstream:
        mock = await found(tmp_path, upstream.url, "m", apis=["chat", "responses"])
    (told,) = [finding for finding in mock.findings if "does not answer `m`" in finding]
    assert f"/v1/responses (status {status[:3]})" in told and advice in told
    assert mock.usable, "its chats are"


async def test_an_upstream_of_messages_is_asked_in_its_own_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with serving(Script(log=log)) as upstream:
        mock = await found(
            tmp_path, upstream.base_url, "demo-chat", apis=["messages"], credential="x-api-key"
        )
    assert (mock.usable, mock.model, mock.stream_usage) == (True, "demo-chat", "unasked")
    assert mock.tokens > 0
    asked = [line for line in read_log(log) if isinstance(line, RequestLine)]
    assert [line.path for line in asked] == ["/v1/models?limit=1000", "/v1/messages"]
    for line in asked:
        assert "anthropic-version" in {name.lower() for name, _ in line.headers}


async def test_an_upstream_without_streams_is_not_asked_for_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with serving(Script(log=log)) as upstream:
        mock = await found(tmp_path, upstream.base_url, "demo-chat", apis=["embeddings"])
    assert (mock.usable, mock.stream_usage) == (True, None)
    assert "names neither chat nor messages nor responses" in mock.findings[-1]
    assert [line.path for line in read_log(log) if isinstance(line, RequestLine)] == ["/v1/models"]


@pytest.mark.parametrize(
    ("models", "asked"),
    [
        (("*",), "demo-chat"),  # the first of its list
        (("qwen-*",), "qwen-max"),  # the first of its list that a route leads to
        (("demo-*", "gpt-4o"), "gpt-4o"),  # one that is spelt out comes before
        (("demo-error-404", "demo-error-400", "gpt-4o"), "gpt-4o"),
        (("text-*", "gpt-4o-m*"), "gpt-4o-mini"),  # no embeddings
        (("nothing-*",), None),
    ],
)
async def test_which_model_is_asked(
    tmp_path: Path, models: tuple[str, ...], asked: str | None
) -> None:
    async with serving() as upstream:
        mock = await found(tmp_path, upstream.base_url, *models)
    assert (mock.usable, mock.model) == (True, asked)
    assert mock.models is not None and mock.models > 40
    if asked is None:
        assert "lists none that a route leads to" in mock.findings[-1]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("demo-error-401", "refuses the credential (status 401): check upstreams.mock.api_key"),
        ("demo-error-403", "status 403, unsupported_country_region_territory"),
        ("demo-error-429", "status 429, rate_limit_exceeded"),
        ("demo-error-500:html", "status 500"),
        ("demo-error-event:1", "an error inside its answer"),
        ("demo-html", "neither a stream nor JSON"),
        ("demo-close:1", "the answer was broken off"),
        ("demo-no-head", "the answer was broken off"),
    ],
)
async def test_what_cannot_be_used_says_why(tmp_path: Path, model: str, says: str) -> None:
    async with serving() as upstream:
        mock = await found(tmp_path, upstream.base_url, model)
    assert not mock.usable
    assert says in " ".join(mock.findings)


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        ("400 Bad Request", True),
        ("422 No", True),
        ("429 Slow down", False),
        ("503 Busy", False),
        ("", False),
    ],
)
async def test_only_a_refusal_is_called_one(tmp_path: Path, status: str, refused: bool) -> None:
    """A connection that breaks, or a vendor that is busy at the second question, says nothing about
    what streams state."""

    async def script(visit: Visit) -> None:
        if b"stream_options" not in visit.body:
            await visit.stream(event(), b"data: [DONE]\n\n")
        elif status:
            await visit.answer(b"{}", status=status)
        else:
            visit.reset()

    async with raw_upstream(script) as upstream:
        mock = await found(tmp_path, upstream.url, "m")
    assert mock.usable and mock.stream_usage == ("refused" if refused else None)
    assert ("is refused" in mock.findings[-1]) == refused
    assert ("got no usable answer" in mock.findings[-1]) != refused


async def test_an_upstream_that_is_not_there_or_has_no_key(tmp_path: Path) -> None:
    gone = await found(tmp_path, "http://127.0.0.1:9/v1")
    assert not gone.usable and gone.findings == (
        "It cannot be reached: connection refused. Check upstreams.mock.base_url.",
    )
    unset = await found(tmp_path, "http://127.0.0.1:9/v1", api_key="")
    assert not unset.usable and "set upstreams.mock.api_key" in unset.findings[0]


async def test_silence_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "ANSWER_S", 0.05)
    async with serving() as upstream:
        mock = await found(tmp_path, upstream.base_url, "demo-hang")
    assert not mock.usable and "`demo-hang`: no whole answer within 0.05 s." in mock.findings


async def test_the_callers_own_credential_is_nobodys_to_try(tmp_path: Path) -> None:
    async with serving(Script(log=tmp_path / "log")) as upstream:
        mock = await found(tmp_path, upstream.base_url, "gpt-4o", auth="forward", api_key="")
    assert mock.usable and mock.stream_usage is None
    [line] = [line for line in read_log(tmp_path / "log") if isinstance(line, RequestLine)]
    assert line.path == "/v1/models" and not any(
        name.lower() == "authorization" for name, _ in line.headers
    )


def event(**fields: object) -> bytes:
    return (
        b"data: "
        + json.dumps(
            {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}], **fields}
        ).encode()
        + b"\n\n"
    )


def scripted(
    visits: list[dict[str, object]],
    *,
    refuses: str = "",
    code: str = "unsupported_parameter",
    body: bytes = event(),
    listing: str = "404 Not Found",
) -> Raw:
    """A vendor that lists two models with this status, answers 400 with this code to requests that
    hold `refuses`, and `body` to all others."""

    async def script(visit: Visit) -> None:
        assert visit.header("authorization") == b"Bearer " + SECRET.encode()
        if not visit.body:
            await visit.answer(b'{"data":[{"id":"text-embedding-3"},{"id":"m"}]}', status=listing)
            return
        visits.append(json.loads(visit.body))
        if refuses and refuses in visits[-1]:
            await visit.answer(
                json.dumps({"error": {"code": code, "message": SECRET}}).encode(),
                status="400 Bad Request",
            )
        else:
            await visit.stream(body)

    return script


async def test_no_embeddings_are_asked_to_stream(tmp_path: Path) -> None:
    async with raw_upstream(scripted([], listing="200 OK")) as upstream:
        mock = await found(tmp_path, upstream.url)
    assert (mock.models, mock.model) == (2, "m")


async def test_a_key_may_stream_that_may_not_list(tmp_path: Path) -> None:
    visits: list[dict[str, object]] = []
    async with raw_upstream(scripted(visits, listing="403 Forbidden")) as upstream:
        streams = await found(tmp_path, upstream.url, "m")
        assert streams.usable and "It lists no models (status 403)." in streams.findings
        unknown = await found(tmp_path, upstream.url, "*")
        assert not unknown.usable and "refuses the credential (status 403)" in unknown.findings[-1]


async def test_a_key_that_is_forbidden_everything_is_refused(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b"{}", status="403 Forbidden")

    async with raw_upstream(script) as upstream:
        mock = await found(tmp_path, upstream.url, "m")
    assert not mock.usable and "refuses the credential (status 403)" in mock.findings[-1]


async def test_a_few_models_are_tried_and_no_more(tmp_path: Path) -> None:
    names = [f"demo-error-50{number}" for number in range(5)]
    async with serving(Script(log=tmp_path / "log")) as upstream:
        mock = await found(tmp_path, upstream.base_url, *names)
    assert not mock.usable
    posts = [
        line
        for line in read_log(tmp_path / "log")
        if isinstance(line, RequestLine) and line.method == "POST"
    ]
    assert len(posts) == 3, "once each: another cap helps against 400 and 422 only"


@pytest.mark.parametrize(
    ("code", "shown"), [("model_not_found", True), (SECRET, False), ("4711", False)]
)
async def test_an_errors_code_is_shown_and_its_text_is_not(
    tmp_path: Path, code: str, shown: bool
) -> None:
    async with raw_upstream(scripted([], refuses="model", code=code)) as upstream:
        mock = await found(tmp_path, upstream.url, "m")
    assert not mock.usable
    assert mock.findings[1] == (f"`m`: status 400, {code}." if shown else "`m`: status 400.")


async def test_a_vendor_that_refuses_the_question(tmp_path: Path) -> None:
    for setting, advice in (
        ("observe", "`inject` would not help"),
        ("inject", "Set upstreams.mock.stream_usage: observe"),
    ):
        async with raw_upstream(scripted([], refuses="stream_options")) as upstream:
            mock = await found(tmp_path, upstream.url, "m", stream_usage=setting)
        assert (mock.usable, mock.models, mock.stream_usage) == (True, None, "refused")
        assert (
            "status 400, unsupported_parameter" in mock.findings[-1] and advice in mock.findings[-1]
        )


async def test_a_vendor_that_names_the_cap_otherwise(tmp_path: Path) -> None:
    visits: list[dict[str, object]] = []
    async with raw_upstream(scripted(visits, refuses="max_tokens")) as upstream:
        mock = await found(tmp_path, upstream.url, "o3", apis=["chat"])
    assert mock.usable and mock.model == "o3"
    assert [sorted(visit) for visit in visits] == [
        ["max_tokens", "messages", "model", "stream"],
        ["max_completion_tokens", "messages", "model", "stream"],
        ["max_completion_tokens", "messages", "model", "stream", "stream_options"],
    ]


@pytest.mark.parametrize(
    ("inside", "says"), [(True, "set upstreams.mock.cached_inside_input: false"), (False, None)]
)
async def test_cached_tokens_beside_the_prompt(
    tmp_path: Path, inside: bool, says: str | None
) -> None:
    golden = next(golden for golden in GOLDENS if golden.name == "cached-beside-untold")
    async with raw_upstream(scripted([], body=golden.body)) as upstream:
        mock = await found(tmp_path, upstream.url, "m", cached_inside_input=inside)
    assert mock.usable and mock.stream_usage == "unasked"
    assert says in mock.findings[-1] if says else "cached" not in mock.findings[-1]


async def test_a_stream_that_holds_no_answer(tmp_path: Path) -> None:
    async with raw_upstream(scripted([], body=b"data: [DONE]\n\n")) as upstream:
        mock = await found(tmp_path, upstream.url, "m")
    assert not mock.usable
    assert "an answer that holds none" in mock.findings[-2]


async def test_counts_that_contradict_each_other(tmp_path: Path) -> None:
    body = (
        event(
            usage={
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "total_tokens": 100,
                "cached_tokens": 3,
            }
        )
        + b"data: [DONE]\n\n"
    )
    async with raw_upstream(scripted([], body=body)) as upstream:
        mock = await found(tmp_path, upstream.url, "m")
    assert "flagged `inconsistent`" in mock.findings[-1]


async def test_each_is_probed_whatever_the_others_do(tmp_path: Path) -> None:
    async with serving() as upstream:
        settings = config(
            upstream.base_url,
            upstreams={
                "good": {"base_url": upstream.base_url, "api_key": "k"},
                "gone": {"base_url": "http://127.0.0.1:9/v1", "api_key": "k"},
            },
            routes=[{"model": "demo-chat", "upstream": "good"}, {"model": "*", "upstream": "gone"}],
        )
        both = written(tmp_path, settings)
        assert [(one.upstream, one.usable) for one in await probe(both)] == [
            ("good", True),
            ("gone", False),
        ]
        assert [one.upstream for one in await probe(Snapshot(both.settings), ("good",))] == ["good"]
