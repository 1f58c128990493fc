"""File descriptors: a request in flight takes two, and the usual soft limit of 1024 would refuse clients long before `inflight_max` does."""

from __future__ import annotations

import contextlib
import resource

SPARE = 256  # for the ledger, the journal, scrapes, name look-ups and connections kept for the next request


def raise_limit() -> int:
    """Raise this process's soft limit to the hard one, where the system lets it; the limit that holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS names no hard limit and yet has one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def shortage(limit: int, inflight_max: int) -> str | None:
    """What to tell the operator if `inflight_max` requests at once do not fit into the limit, else None."""
    needed = 2 * inflight_max + SPARE
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return None
    return (
        f"inflight_max: {inflight_max} requests at once need {needed} file descriptors, and this process may open {limit}. "
        f"Raise its hard limit (LimitNOFILE= in systemd, --ulimit nofile= in docker, ulimit -Hn), or set inflight_max to {max(1, (limit - SPARE) // 2)}"
    )
