"""The upper bounds of each histogram's buckets, in seconds."""

from __future__ import annotations

# Durations reach from a cached embedding to a long reasoning answer. Times per token are those at
# which a person reads along. Overhead is the time inside the proxy. The first two end at the
# default timeouts (`total` 1h, `first_byte` 10m): a histogram has no quantile above its last bound.
DURATION_BOUNDS_S = (
    0.01,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
)
FIRST_BYTE_BOUNDS_S = (
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
PER_TOKEN_BOUNDS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
OVERHEAD_BOUNDS_S = (
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.5,
    1.0,
)
