"""When a connection may carry the next request, from what its upstream was seen to do: a table of
sights, without a clock or a socket."""

from __future__ import annotations

import pytest

from proxy.dataplane.upstream.reuse import REMEMBERED_S, REST_S, Reuse

LENGTH, CHUNKED = False, True
# What was seen: (kept or closed, kind of answer, idle for so long, at that time).
Seen = tuple[str, bool, float, float]


@pytest.mark.parametrize(
    ("seen", "at_once"),
    [
        # nothing is known of a new upstream
        ([], (False, False)),
        # llama.cpp: whole answers keep, streams close
        ([("kept", LENGTH, REST_S, 1.0)], (True, False)),
        ([("kept", CHUNKED, REST_S, 1.0)], (False, True)),
        # too early to tell
        ([("kept", CHUNKED, REST_S / 2, 1.0)], (False, False)),
        ([("kept", CHUNKED, 1.0, 1.0), ("closed", CHUNKED, 0.001, 2.0)], (False, False)),
        # an ordinary keep-alive's end
        ([("kept", CHUNKED, 1.0, 1.0), ("closed", CHUNKED, 3.0, 4.0)], (False, True)),
        # one in two is still closed
        ([("closed", CHUNKED, 0.001, 2.0), ("kept", CHUNKED, 1.0, 3.0)], (False, False)),
        ([("closed", CHUNKED, 0.001, 2.0), ("kept", CHUNKED, 1.0, 2.0 + REMEMBERED_S)], (False, True)),
        ([("closed", CHUNKED, 0.001, 2.0), ("kept", LENGTH, 1.0, 3.0)], (True, False)),
    ],
)  # fmt: skip
def test_what_was_seen_decides(seen: list[Seen], at_once: tuple[bool, bool]) -> None:
    reuse = Reuse()
    for sight, chunked, idle_s, now_s in seen:
        (reuse.kept if sight == "kept" else reuse.closed)(chunked, idle_s, now_s)
    assert (reuse.at_once(LENGTH), reuse.at_once(CHUNKED)) == at_once
    for chunked, known in ((LENGTH, at_once[0]), (CHUNKED, at_once[1])):
        assert reuse.ready(chunked, 0.0) == known
        assert reuse.ready(chunked, REST_S), "what has outlived its rest is open"
