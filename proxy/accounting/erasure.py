"""Erases an end user: deletes the salt that leads from the name to what the records have of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proxy.accounting.end_users import EndUsers
from proxy.core.managed import Audit
from proxy.ledger import Ledger, LedgerUnavailable


async def erase_end_user(
    end_user: str,
    deed: Audit,
    ledger: Ledger,
    end_users: EndUsers,
    drain: Callable[[], Awaitable[bool]],
) -> bool:
    """Delete the salt, in memory and in the ledger; False: there is none.

    Records and sums stay as they are. A request that comes meanwhile gets a new salt, which stays.
    `drain` waits until all that has ended is booked, and says whether it is. Raises
    LedgerUnavailable; then the same again goes on.
    """
    was_new = end_users.forget(end_user)
    # The old salt may be on its way into the ledger. After this it is there, and can be deleted.
    if not await drain():
        raise LedgerUnavailable("the ledger does not take what has ended")
    erased = await ledger.erase_end_user(
        end_users.lookup(end_user), deed, kept=end_users.salt(end_user), known=was_new
    )
    # The ledger ignored a new salt as long as it had the old one.
    end_users.store_again(end_user)
    return erased
