"""Who made which object at a vendor: files, batches, items of stored answers.

An id is all that a later request has, and all keys of one vendor's account can read and remove each
other's objects. So an id belongs to the team whose request made it, or to the key where it has no
team. What is not known here belongs to nobody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

OWNERS_MAX = 65_536  # ids; the oldest are forgotten first, and then nobody may ask for them
_EVERYBODY = "*"
ITEMS_MAX = 131_072  # of answers: some 40 MB


class Owners:
    """Ids and their owners, of each upstream apart. Lives on the event loop.

    `repeated`: there are vendors that give the same id again (`msg_0`). Then it tells nothing, and
    is everybody's.
    """

    def __init__(self, most: int = OWNERS_MAX, *, repeated: bool = False) -> None:
        self._most = most
        self._repeated = repeated
        self._owners: OrderedDict[tuple[str, str], str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._owners)

    def learn(self, upstream: str, team: str | None, key_id: str, ids: Iterable[str]) -> None:
        """These objects were made. An id keeps its first owner: vendors make each once."""
        owner = _owner(team, key_id)
        for id in ids:
            self._learn(upstream, owner, id)

    def _learn(self, upstream: str, owner: str, id: str) -> None:
        if self._owners.setdefault((upstream, id), owner) != owner and self._repeated:
            self._owners[upstream, id] = _EVERYBODY
        if len(self._owners) > self._most:
            self._owners.popitem(last=False)

    def learn_all(self, others: Owners) -> None:
        """All that the others know, which came later."""
        for (upstream, id), owner in others._owners.items():
            self._learn(upstream, owner, id)

    def owns(self, upstream: str, team: str | None, key_id: str, id: str) -> bool:
        """Whether this caller, or another of its team, made the object."""
        return self._owners.get((upstream, id)) in (_owner(team, key_id), _EVERYBODY)

    def anothers(self, upstream: str, team: str | None, key_id: str, id: str) -> bool:
        """Whether somebody else is known to have made it."""
        return (upstream, id) in self._owners and not self.owns(upstream, team, key_id, id)


def _owner(team: str | None, key_id: str) -> str:
    return f"key {key_id}" if team is None else f"team {team}"
