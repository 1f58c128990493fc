"""How a limit stands: what clients, admins and metrics are shown."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.limits.limit import Limit

# When to ask again for what others hold. When they end is not known.
HELD_RETRY_MS: Final = 1000


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """One limit's count at one moment, in the limit's unit.

    `amount` is what the rule says, `granted` what credits add to it, `used` what was used in the
    running window, `held` what running requests may still use of the rest. For a limit that flows,
    `used` is what has not flowed off yet, with what running requests hold, and `remaining` is what
    it takes at once.

    `resets_at_ms`: when all of it is there again, if nothing more is used; None for a total and for
    concurrent requests.
    """

    limit: Limit
    amount: int
    granted: int = 0
    used: int
    held: int = 0
    remaining: int
    resets_at_ms: int | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was not let through, and took nothing of any limit.

    Of several limits that refuse, it names the limit that will refuse longest.

    `retry_after_ms`: when the same request may be tried again; None: waiting does not help, because
    it asks for more than the limit ever has (`never`), or because the limit is used up until it
    resets. `by_holds`: not all of it is used yet, but running requests hold the rest.

    `states`: all limits of the request, for its headers.
    """

    limit: Limit
    state: LimitState
    wanted: int
    retry_after_ms: int | None = None
    never: bool = False
    by_holds: bool = False
    states: tuple[LimitState, ...] = ()


def lasts(refused: Refused) -> tuple[int, int]:
    """A key to sort refusals by how long they last.

    Longest is what never fits, then budgets by the end of their window, then rates and slots.
    """
    if refused.never:
        return 2, 0
    if refused.retry_after_ms is None:
        return 1, 2**100 if refused.state.resets_at_ms is None else refused.state.resets_at_ms
    return 0, refused.retry_after_ms
