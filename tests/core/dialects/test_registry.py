"""Who speaks which dialect, and how a vendor of an API is asked for its models."""

from __future__ import annotations

import pytest

from proxy.core.dialects.registry import (
    BY_ENDPOINT,
    DEFAULT,
    DIALECTS,
    api_of,
    kept_at,
    listing,
    spoken_by,
)


@pytest.mark.parametrize(
    ("endpoint", "api"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/completions", "completions"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/responses", "responses"),
        ("/v1/messages", "messages"),
        ("/v1/messages/count_tokens", "messages"),
    ],
)
def test_each_endpoint_belongs_to_an_api(endpoint: str, api: str) -> None:
    assert endpoint in BY_ENDPOINT
    assert api_of(endpoint) == api


def test_a_client_is_known_by_its_header() -> None:
    spoken = spoken_by([(b"Anthropic-Version", b"2023-06-01")])
    assert spoken is BY_ENDPOINT["/v1/messages"]
    assert spoken_by([(b"authorization", b"Bearer k")]) is DEFAULT


def test_a_vendor_of_messages_is_asked_for_its_whole_list() -> None:
    target, fields = listing(["chat", "messages"])
    assert target == "/v1/models?limit=1000"
    assert dict(fields) == {b"anthropic-version": b"2023-06-01"}
    assert listing(["chat"]) == ("/v1/models", ())


def test_a_path_that_names_a_kept_answer_is_its_dialects_and_no_endpoint() -> None:
    found = kept_at("/v1/responses/resp_1")
    assert found is not None
    dialect, kept = found
    assert (dialect.name, kept.answer_id) == ("openai_responses", "resp_1")
    for endpoint in BY_ENDPOINT:
        assert kept_at(endpoint) is None
    assert kept_at("/v1/models/resp_1") is None
    assert len(BY_ENDPOINT) == sum(len(dialect.endpoints) for dialect in DIALECTS)
