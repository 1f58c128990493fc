"""Which dialect is spoken where."""

from __future__ import annotations

from proxy.core.dialects.registry import BY_ENDPOINT, DIALECTS, kept_at


def test_a_path_that_names_a_kept_answer_is_its_dialects_and_no_endpoint() -> None:
    found = kept_at("/v1/responses/resp_1")
    assert found is not None
    dialect, kept = found
    assert (dialect.name, kept.answer_id) == ("openai_responses", "resp_1")
    for endpoint in BY_ENDPOINT:
        assert kept_at(endpoint) is None
    assert kept_at("/v1/models/resp_1") is None
    assert len(BY_ENDPOINT) == sum(len(dialect.endpoints) for dialect in DIALECTS)
