"""Which models of a bill are which of the ledger, where the two write their names otherwise."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.core.model_names import caseless, unprefixed


class JoinedModels:
    """The one name under which each model of both sides is compared.

    `gpt-4o` of a bill is `gpt-4o-2024-08-06` here: an edition, a vendor's prefix and blanks make no
    other model. Of several editions that the other side does not tell apart, the sum is compared.
    `codes`: the bill's names may be numbers of a price list. Where none of them is known here, the
    sums of all models are compared, and `unknown` says so.
    """

    def __init__(self, own: set[str], billed: set[str], *, codes: bool = False) -> None:
        self.ours: dict[str, str] = {name: name for name in own}
        self.theirs: dict[str, str] = {name: name for name in billed}
        here, there = _by_bare_name(own - billed), _by_bare_name(billed - own)
        joined = here.keys() & there.keys()
        for bare in joined:
            key = here[bare][0]
            self.ours |= dict.fromkeys(here[bare], key)
            self.theirs |= dict.fromkeys(there[bare], key)
        # What the bill calls otherwise, and what that is here.
        self.told = {name: ", ".join(here[bare]) for bare in sorted(joined) for name in there[bare]}
        self.unknown = codes and bool(own) and not joined and not own & billed
        if self.unknown:
            self.ours = dict.fromkeys(own, "")
            self.theirs = dict.fromkeys(billed, "")


def _by_bare_name(names: set[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        if name:
            found.setdefault(bare_name(name), []).append(name)
    return found


def bare_name(name: str) -> str:
    """A model's name without prefix and edition, in one spelling."""
    spelt = unprefixed(caseless(name)).rpartition("/")[2].partition(":")[0]
    for sign in " ._":
        spelt = spelt.replace(sign, "-")
    parts = spelt.split("-")
    while len(parts) > 1 and (
        parts[-1] in ("latest", "preview", "exp") or (parts[-1].isdigit() and len(parts[-1]) >= 2)
    ):
        parts.pop()
    return "-".join(parts)
