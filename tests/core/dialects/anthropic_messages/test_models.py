"""A list of models in this API's shape, of what vendors of any API list."""

from __future__ import annotations

from proxy.core.dialects.anthropic_messages.models import model_list


def test_each_entry_has_the_members_that_clients_read() -> None:
    listed = model_list(
        [
            {"id": "gpt-x", "object": "model", "created": 1_790_000_000, "owned_by": "openai"},
            {"id": "c-x", "type": "model", "display_name": "C X", "created_at": "2026-01-01T00:00:00Z"},
            {"id": "odd", "created": "yesterday"},
        ]
    )  # fmt: skip
    assert listed["data"] == [
        {"type": "model", "id": "gpt-x", "display_name": "gpt-x", "created_at": "2026-09-21T14:13:20Z", "owned_by": "openai"},
        {"type": "model", "id": "c-x", "display_name": "C X", "created_at": "2026-01-01T00:00:00Z"},
        {"type": "model", "id": "odd", "display_name": "odd", "created_at": "1970-01-01T00:00:00Z"},
    ]  # fmt: skip
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "gpt-x", "odd")
    assert model_list([]) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
