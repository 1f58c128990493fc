"""Who made which object at a vendor: files, batches, stored answers.

An id is all that a later request has, and all keys of one vendor's account can read and remove each
other's objects. So an id belongs to the team whose request made it, or to the key where it has no
team. What is not known here belongs to nobody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

OWNERS_MAX = 65_536  # ids; the oldest are forgotten first, and then nobody may ask for them


class Owners:
    """Ids and their owners, of each upstream apart. Lives on the event loop."""

    def __init__(self, most: int = OWNERS_MAX) -> None:
        self._most = most
        self._owners: OrderedDict[tuple[str, str], str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._owners)

    def learn(self, upstream: str, team: str | None, key_id: str, ids: Iterable[str]) -> None:
        """These objects were made. An id keeps its first owner: vendors make each once."""
        owner = _owner(team, key_id)
        for id in ids:
            self._owners.setdefault((upstream, id), owner)
            if len(self._owners) > self._most:
                self._owners.popitem(last=False)

    def owns(self, upstream: str, team: str | None, key_id: str, id: str) -> bool:
        """Whether this caller, or another of its team, made the object."""
        return self._owners.get((upstream, id)) == _owner(team, key_id)

    def anothers(self, upstream: str, team: str | None, key_id: str, id: str) -> bool:
        """Whether somebody else is known to have made it."""
        return self._owners.get((upstream, id), _owner(team, key_id)) != _owner(team, key_id)


def _owner(team: str | None, key_id: str) -> str:
    return f"key {key_id}" if team is None else f"team {team}"
