"""A list of models in this API's shape, of what vendors of any API list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

_CREATED_S_MAX = 2**40


def model_list(entries: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """A list of models in this shape, whole.

    `{"data": [{"type", "id", "display_name", "created_at", …}], "has_more", "first_id",
    "last_id"}`: what a vendor says beside these members stays.
    """
    data = [_entry(entry) for entry in entries]
    ids = [entry["id"] for entry in data]
    return {
        "data": data,
        "has_more": False,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }


def _entry(entry: Mapping[str, object]) -> dict[str, object]:
    created = entry.get("created")
    at_s = created if isinstance(created, int) and 0 <= created < _CREATED_S_MAX else 0
    created_at = datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    own = {name: value for name, value in entry.items() if name not in ("object", "created")}
    return {
        "type": "model",
        "display_name": entry.get("id"),
        "created_at": created_at,
        **own,
    }
