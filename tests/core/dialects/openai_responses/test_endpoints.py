"""Which response a path names."""

from __future__ import annotations

import pytest

from proxy.core.dialects.openai_responses.endpoints import kept_path


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


@pytest.mark.parametrize(
    "path",
    ["/v1/responses", "/v1/responses/", "/v1/responses/compact", "/v1/responses/input_tokens", "/v1/responses/a/b", "/v1/responses/a%2Fcancel",
     "/v1/responses/a/cancel/", "/v1/responses/../models", "/v1/responses/" + "x" * 300, "/v1/files/a"],
)  # fmt: skip
def test_no_other_path_names_one(path: str) -> None:
    assert kept_path(path) is None
