"""What a client is told whose path is not served: what it asked for, and what to set."""

from __future__ import annotations

import pytest

from proxy.core.dialects.registry import BY_ENDPOINT
from proxy.core.http.unserved import asked, family, unknown_path
from tests.support.toy_wire.dialect import TOY


@pytest.mark.parametrize(
    ("method", "target", "says"),
    [
        ("POST", "/v1/responses/resp_1/other", "input_items or cancel"),
        ("POST", "/openai/v1/responses", "/v1/responses, with an id"),
        ("POST", "/v1/messages?beta=true", "Anthropic"),
        ("POST", "/v1/messages/count_tokens", "Anthropic"),
        ("POST", "/anthropic/v1/messages", "address alone"),
        ("POST", "/v1/complete", "POST to /v1/messages"),
        (
            "POST",
            "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
            "AzureOpenAI",
        ),
        ("POST", "/v1/engines/davinci/completions", "`model`"),
        ("GET", "/v1/engines", "`model`"),
        ("POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", "Gemini"),
        ("POST", "/api/chat", "Ollama"),
        ("GET", "/api/tags", "Ollama"),
        ("POST", "/v1/audio/transcriptions", "operator"),
        ("POST", "/v1/images/generations", "operator"),
        ("POST", "/v1/rerank", "operator"),
        ("POST", "/v1/v1/chat/completions", "/v1/chat/completions: set base_url"),
        ("POST", "/v1/chat/completions/chat/completions", "/v1/chat/completions: set base_url"),
        ("POST", "/api/v1/chat/completions", "/v1/chat/completions: set base_url"),
        ("POST", "/openai/v1/embeddings", "/v1/embeddings: set base_url"),
        ("POST", "/v1/chat/completions/", "without a slash at its end"),
        ("POST", "/V1/Chat/Completions", "small letters"),
        ("GET", "/", "base_url"),
        ("GET", "/v1", "base_url"),
        ("GET", "/favicon.ico", "base_url"),
    ],
)
def test_a_path_that_is_not_served_is_named_with_what_to_do(
    method: str, target: str, says: str
) -> None:
    error = unknown_path(method, target)
    assert (error.status, error.type, error.code) == (404, "invalid_request_error", "unknown_path")
    assert error.message.startswith(f"{asked(method, target)} is not served here. ")
    assert says in error.message and "/v1/chat/completions" in error.message


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/v1/responses/r_1", "/v1/responses"), ("/anthropic/v1/messages", "/v1/messages"), ("/openai/deployments/x/embeddings", "/openai/deployments"),
        ("/v1/engines/x", "/v1/engines"), ("/v1beta/models/x:generateContent", "/v1beta"), ("/api/tags", "/api"), ("/v1/files/x", "other"), ("/x", "other"),
    ],
)  # fmt: skip
def test_metrics_know_it_by_one_of_a_few_names(path: str, label: str) -> None:
    assert family(path) == label


@pytest.mark.parametrize(
    ("method", "target", "shown"),
    [
        ("POST", "/v1/responses?key=CANARY", "POST /v1/responses"),
        (
            "GET",
            "/v1beta/models/gemini:generateContent",
            "GET /v1beta/models/gemini:generateContent",
        ),
        ("DELETE", "/v1/files/file-a1b2/content", "DELETE /v1/files/…/content"),
        ("POST", "/sk-c4n4ry/v1", "POST /…/v1"),
        ("C4N4RY", "/", "… /"),
        ("X" * 5000, "/\x1b[31m\u202e/" + "x" * 8000, "… /…/…"),
        ("GET", "/a" * 4000, "GET " + "/a" * 8 + "/…"),
    ],
)
def test_method_and_path_are_shown_bounded_and_without_what_may_be_a_key(
    method: str, target: str, shown: str
) -> None:
    assert asked(method, target) == shown


def test_a_new_wire_is_named_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_ENDPOINT, TOY.endpoints[0], TOY)
    assert "The path is to be /v1/toy" in unknown_path("POST", "/v2/toy").message
    assert "/v1/embeddings" in (told := unknown_path("GET", "/").message) and "/v1/toy" in told
