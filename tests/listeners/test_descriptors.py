"""How many files a process may open: raised as far as the system allows, and told if that is too
few."""

import resource
import subprocess
import sys

import pytest

from proxy.listeners import descriptors

PROGRAM = "from proxy.listeners import descriptors; print(descriptors.raise_limit())"


@pytest.mark.parametrize(("soft", "hard"), [(100, 300), (300, 300)])
def test_the_soft_limit_is_raised_to_the_hard_one(soft, hard):
    lowered = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); {PROGRAM}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(lowered.stdout) == hard


@pytest.mark.parametrize(
    ("limit", "inflight_max", "wanted", "accepted"),
    [
        (resource.RLIM_INFINITY, 10_000, None, 20_000),
        (1_048_576, 10_000, None, 20_000),
        (1_048_576, 10_000, 50_000, 50_000),
        (40_256, 10_000, None, 20_000),
        (
            25_256,
            10_000,
            None,
            15_000,
        ),  # each request in flight finds a descriptor for its upstream
        (20_256, 10_000, None, 10_000),
        (1024, 10_000, None, 384),
        (1024, 100, None, 200),
        (1024, 100, 5000, 668),
        (1024, 10_000, 100, 100),
        (600, 10_000, None, 172),
        (256, 10_000, None, 64),  # the reserve is never more than half
        (3, 10_000, None, 1),
    ],
)
def test_how_many_connections_are_accepted(limit, inflight_max, wanted, accepted):
    assert descriptors.connections_max(limit, inflight_max, wanted) == accepted
    told = descriptors.shortage(limit, inflight_max, wanted)
    assert (wanted is not None and accepted < wanted) == (
        told is not None and told.startswith(f"connections_max: {wanted}")
    )


@pytest.mark.parametrize(
    ("limit", "inflight_max", "told"),
    [
        (20_256, 10_000, None),
        (resource.RLIM_INFINITY, 10_000, None),
        (
            20_255,
            10_000,
            "10000 requests at once need 20256 file descriptors, and this process may open 20255",
        ),
        (1024, 10_000, "set inflight_max to 384"),
        (100, 10, "set inflight_max to 1"),
    ],
)
def test_too_few_are_told_with_what_to_do(limit, inflight_max, told):
    text = descriptors.shortage(limit, inflight_max)
    assert text is None if told is None else told in text and "LimitNOFILE" in text
