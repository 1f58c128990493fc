"""Heads that are not whole are counted together, and shed where they are too many."""

from __future__ import annotations

from proxy.dataplane.heads import HEADS_MAX, Heads


def test_too_many_bytes_are_shed_when_more_come_and_never_when_some_go() -> None:
    shed: list[int] = []
    heads = Heads(lambda: shed.append(heads.size_bytes))
    heads.change(HEADS_MAX)
    assert shed == []
    heads.change(1)
    heads.change(0)
    heads.change(-1)
    assert shed == [HEADS_MAX + 1] and heads.size_bytes == HEADS_MAX
