"""The common bound on request bodies in memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from proxy.core.errors import ProxyError
from proxy.parts import DRAINS_SHARE, Drains, Memory


def test_bodies_share_one_bound_and_give_back_exactly_what_they_took() -> None:
    parts = SimpleNamespace(body_bytes=0)
    one, two = Memory(parts, 100), Memory(parts, 100)  # type: ignore[arg-type]
    one.take(60)
    two.take(40)
    with pytest.raises(ProxyError) as refused:
        two.take(1)
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    two.release()
    two.release()
    assert parts.body_bytes == 60
    one.take(40)
    one.release()
    assert parts.body_bytes == 0


def test_one_key_takes_a_quarter_of_the_places_to_read_on() -> None:
    drains = Drains()
    assert [drains.take("a", 8) for _ in range(3)] == [True, True, False]
    assert [drains.take(key, 8) for key in "bbccddee"] == [True] * 6 + [False] * 2
    assert drains.count == 8 == 2 * DRAINS_SHARE
    drains.give_back("a")
    assert (drains.take("e", 8), drains.count) == (True, 8)
    assert [Drains().take("a", most) for most in (0, 1)] == [False, True]
