"""The ids in an answer."""

from __future__ import annotations

from proxy.core.dialects.openai_responses.item_ids import ItemIds
from proxy.core.dialects.openai_responses.items import ITEMS


def test_each_id_once_and_of_so_many_the_first() -> None:
    found = ItemIds()
    items = b'[{"id":"ci_1","container_id":"cntr_1"},{"id":"ci_1"},{"id":7},{"id":""},{}]'
    found.learn(*ITEMS.decode(items))
    assert list(found.ids) == ["ci_1", "cntr_1"]
    for number in range(5000):
        found.learn(*ITEMS.decode(b'{"id":"x%d"}' % number))
    assert len(found.ids) == 4096 and "x0" in found.ids and "x4999" not in found.ids
