"""What differs between two configs in effect, for the audit and for who asks for a reload.

No secret is in it, and none can be searched in what is kept for the next comparison: a secret
stands there as a code made with the ledger's key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from proxy.config.effective import MASK, masked
from proxy.config.nodes import join
from proxy.config.settings import Settings

CHANGED = "changed"
REORDERED = "in another order"
VALUE_CHARS_MAX = 2000  # of one value's JSON
_CODE = re.compile("\0[0-9a-f]{32}")  # YAML has no NUL, so no value of a config looks like it


class Difference(msgspec.Struct, frozen=True):
    """One setting that differs: its path in config.yaml, and what it was and is.

    None: it was or is not there. Of a list only the entries that differ stand there. A secret reads
    `***`; `after` is `changed` where nothing but a secret is another one now.
    """

    path: str
    before: object
    after: object


def fingerprint(settings: Settings, key: bytes) -> dict[str, object]:
    """The config in effect as it would stand in config.yaml, with codes in place of secrets."""

    def code(secret: str) -> str:
        return "\0" + hmac.new(key, secret.encode(), hashlib.sha256).hexdigest()[:32]

    return masked(settings, code)


def differences(before: object, after: object, path: str = "") -> Iterator[Difference]:
    """Every setting that differs between two fingerprints, by path."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys(), key=str):
            yield from differences(before.get(name), after.get(name), join(path, str(name)))
    elif isinstance(before, Sequence) and isinstance(after, Sequence) and not _text(before, after):
        was, now = ([msgspec.json.encode(item) for item in items] for items in (before, after))
        gone, come = Counter(was) - Counter(now), Counter(now) - Counter(was)
        if gone or come:
            was_told, told = _entries(gone), _entries(come)
            yield Difference(path, was_told, CHANGED if told == was_told else told)
        else:
            yield Difference(path, None, REORDERED)
    else:
        told = _shown(after)
        yield Difference(path, _shown(before), CHANGED if told == _shown(before) else told)


def _text(*values: object) -> bool:
    return any(isinstance(value, str) for value in values)


def _entries(counted: Mapping[bytes, int]) -> object:
    """The entries of a list that differ; None without any."""
    items = [msgspec.json.decode(item) for item, count in counted.items() for _ in range(count)]
    return _shown(items) if items else None


def _shown(value: object) -> object:
    """A value without codes of secrets and without what is empty; a very long one in words."""
    told = _without_codes(value)
    size = len(msgspec.json.encode(told))
    return told if size <= VALUE_CHARS_MAX else f"{size} characters"


def _without_codes(value: object) -> object:
    if isinstance(value, str):
        return _CODE.sub(MASK, value)
    if isinstance(value, Mapping):
        said = {name: _without_codes(item) for name, item in value.items()}
        return {name: item for name, item in said.items() if item not in (None, "", [], {})}
    if isinstance(value, list | tuple):
        return [_without_codes(item) for item in value]
    return value
