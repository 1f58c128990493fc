"""File descriptors: a request in flight takes two, and the usual soft limit of 1024 has room for
few.

What is accepted is bounded so that journal, ledger, scrapes and the connections to upstreams always
find one: nobody without a key takes them all.
"""

from __future__ import annotations

import contextlib
import resource

# For the ledger, the journal, name look-ups, the connections of the metrics and the admin listener,
# and
# answers that are read on for clients that left.
SPARE = 256
IDLE_SHARE = 2  # connections kept by default for each request that may be in flight
REMEDY = "Raise its hard limit (LimitNOFILE= in systemd, --ulimit nofile= in docker, ulimit -Hn)"


def raise_limit() -> int:
    """Raise this process's soft limit to the hard one, where the system lets it; the limit that
    holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS names no hard limit and yet has one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def limit() -> int:
    """How many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connections_max(limit: int, inflight_max: int, wanted: int | None) -> int:
    """How many clients' connections are accepted at once: `wanted` if that fits, else what fits.

    Each request in flight has a connection of its own to an upstream. Where there are not as many
    descriptors, half of those beside the reserve are for clients.
    """
    most = IDLE_SHARE * inflight_max if wanted is None else wanted
    if limit == resource.RLIM_INFINITY:
        return most
    free = max(2, limit - min(SPARE, limit // 2))
    return min(most, max(free // 2, free - inflight_max))


def shortage(limit: int, inflight_max: int, wanted: int | None = None) -> str | None:
    """What to tell the operator if the descriptors are fewer than what the config allows, else
    None."""
    needed = 2 * inflight_max + SPARE
    fits = connections_max(limit, inflight_max, wanted)
    if wanted is not None and fits < wanted:
        return (
            f"connections_max: {wanted} connections of clients do not fit into the {limit} file descriptors that this process may open; {fits} are accepted. "
            f"{REMEDY}, or set connections_max to {fits}"
        )
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return None
    return (
        f"inflight_max: {inflight_max} requests at once need {needed} file descriptors, and this process may open {limit}: it accepts {fits} connections of clients. "
        f"{REMEDY}, or set inflight_max to {max(1, (limit - SPARE) // 2)}"
    )
