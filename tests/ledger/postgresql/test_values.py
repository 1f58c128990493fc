"""Values inside a stored JSON text are found, whatever stands beside them."""

from __future__ import annotations

import msgspec
import pytest

from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.values import json_value
from tests.support.postgres import postgres

pytestmark = pytest.mark.whole  # a server of its own


@pytest.mark.parametrize(
    ("texts", "name", "value"),
    [
        ({"a": "x", "b": ""}, "a", "x"),
        ({"a": "x", "b": ""}, "b", ""),
        ({"a": "x"}, "c", None),
        ({}, "a", None),
        ({'we"ird.name': "模型 'q' %s \\"}, 'we"ird.name', "模型 'q' %s \\"),
        ({"1": "one"}, "1", "one"),
        ({"": "nothing"}, "", "nothing"),
        ({"a": "x\0y"}, "a", "x\ufffdy"),
        ({"other": "\0", "a": "x"}, "a", "x"),
    ],
)
def test_a_value_is_that_of_the_name(texts: dict[str, str], name: str, value: str | None) -> None:
    query = f"SELECT {json_value('texts', '%(name)s')} FROM (VALUES (%(json)s)) AS t (texts)"
    values = {"name": name, "json": msgspec.json.encode(texts).decode()}
    with opened(postgres().url(), writes=False) as connection:
        assert connection.execute(query.encode(), values).fetchall() == [(value,)]
