"""A process knows its own mark among those of others."""

from __future__ import annotations

import pytest

from proxy.core.errors import ProxyError
from proxy.core.http.via import Via

VIA = Via("tollkeeper-5f3a")


@pytest.mark.parametrize(
    "values",
    [
        [b"1.1 tollkeeper-5f3a"],
        [b"1.0 fred, 1.1 tollkeeper-5f3a (x),1.1 p"],
        [b"1.1 a", b"HTTP/1.1 tollkeeper-5f3a"],
        [b"1.1 a,1.1\ttollkeeper-5f3a"],
    ],
)
def test_its_own_mark_is_a_loop(values: list[bytes]) -> None:
    with pytest.raises(ProxyError) as refused:
        VIA.refuse_own([(b"VIA", value) for value in values])
    error = refused.value
    assert (error.status, error.code, error.headers) == (
        508,
        "loop_detected",
        (("x-should-retry", "false"),),
    )
    assert "base_url" in error.message


@pytest.mark.parametrize(
    "values", [[], [b""], [b"1.1 tollkeeper-5f3"], [b"1.1 tollkeeper-5f3ab, 1.1 xtollkeeper-5f3a"]]
)
def test_another_one_is_none(values: list[bytes]) -> None:
    VIA.refuse_own([(b"via", value) for value in values])


def test_its_line_is_what_it_knows_again() -> None:
    name, _, value = VIA.line.rstrip(b"\r\n").partition(b": ")
    with pytest.raises(ProxyError, match="loop_detected"):
        VIA.refuse_own([(name, value)])
