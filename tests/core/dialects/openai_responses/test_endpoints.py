"""Which response a path names."""

from __future__ import annotations

import pytest

from proxy.core.dialects.openai_responses.endpoints import kept_path, known_as


@pytest.mark.parametrize(
    ("path", "endpoint", "methods"),
    [
        ("/v1/responses/resp_1", "/v1/responses/{id}", ("GET", "DELETE")), ("/v1/responses/resp_1/cancel", "/v1/responses/{id}/cancel", ("POST",)),
        ("/v1/responses/resp_1/input_items", "/v1/responses/{id}/input_items", ("GET",)),
    ],
)  # fmt: skip
def test_an_id_and_what_is_asked_of_it(path: str, endpoint: str, methods: tuple[str, ...]) -> None:
    kept = kept_path(path)
    assert kept is not None
    assert (kept.answer_id, kept.endpoint, kept.methods) == ("resp_1", endpoint, methods)


def test_an_id_may_be_encoded_or_long() -> None:
    padded, long = kept_path("/v1/responses/resp_YQ%3D%3D"), kept_path("/v1/responses/" + "x" * 300)
    assert padded is not None and padded.answer_id == "resp_YQ=="
    assert long is not None and long.answer_id == known_as("x" * 300) != known_as("x" * 301)
    assert len(long.answer_id) < 256


@pytest.mark.parametrize(
    "path",
    ["/v1/responses", "/v1/responses/", "/v1/responses/compact", "/v1/responses/input_tokens", "/v1/responses/a/b", "/v1/responses/a%2Fcancel",
     "/v1/responses/a/cancel/", "/v1/responses/../models", "/v1/responses/..", "/v1/responses/%2e%2e", "/v1/responses/a%00", "/v1/files/a"],
)  # fmt: skip
def test_no_other_path_names_one(path: str) -> None:
    assert kept_path(path) is None
