"""The ids in an answer by which later requests can name what is in it."""

from __future__ import annotations

from typing import Final

from proxy.core.dialects.openai_responses.endpoints import known_as
from proxy.core.dialects.openai_responses.items import Item
from proxy.core.dialects.openai_responses.response import text

_IDS_MAX: Final = 4096


class ItemIds:
    """Those of items, and of the containers in which they ran. `ids`: each once."""

    __slots__ = ("ids",)

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}

    def learn(self, *items: Item) -> None:
        for item in items:
            for raw in (item.id, item.container_id):
                id = text(raw)
                if id is not None and len(self.ids) < _IDS_MAX:
                    self.ids[known_as(id)] = None
