"""File descriptors: a request in flight takes two, and the usual soft limit is 1024.

The number of clients' connections is bounded, so that journal, ledger, scrapes and connections to
upstreams always find a descriptor, and no client without a key takes them all.
"""

from __future__ import annotations

import contextlib
import resource

# For the ledger, the journal, name look-ups, the connections of the metrics and the admin listener,
# and answers that are read on for clients that left.
SPARE = 256
IDLE_SHARE = 2  # connections kept by default for each request that may be in flight
REMEDY = "Raise its hard limit (LimitNOFILE= in systemd, --ulimit nofile= in docker, ulimit -Hn)"


def raise_limit() -> int:
    """Raise this process's soft limit to the hard one where the system allows it.

    Returns the limit that holds then.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS names no hard limit and yet has one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def limit() -> int:
    """How many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connections_max(limit: int, inflight_max: int, wanted: int | None) -> int:
    """The number of clients' connections to accept: `wanted`, or as many as fit.

    Each request in flight has a connection of its own to an upstream. Where the descriptors do not
    suffice for both, half of those beside the reserve are for clients.
    """
    most = IDLE_SHARE * inflight_max if wanted is None else wanted
    if limit == resource.RLIM_INFINITY:
        return most
    free = max(2, limit - min(SPARE, limit // 2))
    return min(most, max(free // 2, free - inflight_max))


def shortage(limit: int, inflight_max: int, wanted: int | None = None) -> str | None:
    """A message to the operator if the descriptors are too few for the config, else None."""
    needed = 2 * inflight_max + SPARE
    fits = connections_max(limit, inflight_max, wanted)
    if wanted is not None and fits < wanted:
        return (
            f"connections_max: {wanted} connections of clients do not fit into the {limit} file"
            f" descriptors that this process may open; {fits} are accepted."
            f" {REMEDY}, or set connections_max to {fits}"
        )
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return None
    return (
        f"inflight_max: {inflight_max} requests at once need {needed} file descriptors, and this"
        f" process may open {limit}: it accepts {fits} connections of clients."
        f" {REMEDY}, or set inflight_max to {max(1, (limit - SPARE) // 2)}"
    )
