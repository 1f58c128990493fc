"""A body is kept whole up to a bound; of a larger one its two ends are."""

from __future__ import annotations

import pytest

from proxy.core.dialects.kept_body import EDGE_BYTES, KeptBody


@pytest.mark.parametrize("step", [1000, 70_000, 400_000])
def test_a_small_body_is_kept_whole_and_a_large_one_by_its_ends(step: int) -> None:
    body = bytes(range(256)) * 1500
    small, large = KeptBody(len(body)), KeptBody(len(body) - 1)
    for at in range(0, len(body), step):
        small.add(body[at : at + step])
        large.add(body[at : at + step])
        assert large.kept_bytes <= len(body) + 3 * EDGE_BYTES
    assert not small.cut
    assert small.whole() == body
    assert small.kept_bytes == 0, "it is handed out once"
    assert large.cut
    assert large.ends() == (body[:EDGE_BYTES], body[-EDGE_BYTES:])
    assert large.kept_bytes <= 3 * EDGE_BYTES
