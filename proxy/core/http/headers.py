"""Which header fields cross the proxy: the documented exceptions to "unchanged".

Both directions in one place. Names are compared without case, values pass byte for byte. A filter
remembers its verdict by spelling of the name, within a bound, because the same few dozen names come
with each request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Self

from proxy.core.steering import LISTED_HEADERS, LISTED_PREFIXES, steers, tells_a_key

RawHeaders = Sequence[tuple[bytes, bytes]]


class Fields(tuple[tuple[bytes, bytes], ...]):
    """The header fields of one message as they came, with an index by name.

    `first` and `values` look into it. A request is asked some fifteen times, and each look through
    all of its names takes as long as the index.
    """

    by_name: Mapping[bytes, Sequence[bytes]]

    def __new__(cls, pairs: Iterable[tuple[bytes, bytes]]) -> Self:
        fields = super().__new__(cls, pairs)
        by_name: dict[bytes, list[bytes]] = {}
        fields.by_name = by_name
        for name, value in fields:
            lower = name.lower()
            if lower in by_name:
                by_name[lower].append(value)
            else:
                by_name[lower] = [value]
        return fields

    @classmethod
    def indexed(
        cls, pairs: Iterable[tuple[bytes, bytes]], by_name: Mapping[bytes, Sequence[bytes]]
    ) -> Self:
        """The same of pairs whose index was made while they were read."""
        fields = super().__new__(cls, pairs)
        fields.by_name = by_name
        return fields

    def text(self, name: bytes) -> str | None:
        """The first value of a field as text, whatever its bytes."""
        found = self.by_name.get(name)
        return None if found is None else found[0].decode("latin-1")


HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"}
)
# How a body is to be read; hop-by-hop for nobody.
BODY_FIELDS = frozenset({b"content-encoding", b"content-type"})
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key"})
# Of no use to a vendor, and some of it personal: who called, from where, through which of our own
# machines. What steers is `proxy.core.steering`.
OUTWARD = HOP_BY_HOP | {b"host", b"content-length", b"cookie", b"x-real-ip"}
# `X-Pass-…` reaches the vendor of a LiteLLM without its prefix: any other name in disguise.
OUTWARD_PREFIXES = (b"proxy-", b"x-forwarded-", b"cf-", b"x-tollkeeper-", b"x-pass-")
# Whatever `allow` says: we write these ourselves, and two of them are a request that two servers
# read differently.
NEVER_OUTWARD = HOP_BY_HOP | {b"host", b"content-length"}
# Content-Length is set again from the framing that is really used.
INWARD = HOP_BY_HOP | {b"content-length", b"set-cookie", b"alt-svc", b"strict-transport-security"}
INWARD_PREFIXES = (b"proxy-", b"x-tollkeeper-")
PERMISSION = b"access-control-"  # of a server to the pages that it knows
NEVER_INWARD = HOP_BY_HOP | {b"content-length"}

# An attacker may invent names; beyond this they are judged afresh each time.
NAMES_REMEMBERED_MAX = 1024


class HeaderFilter:
    """Decides for one direction which fields pass.

    Those that `drops` does not take out and those that `allow` re-admits, but none of `never`.
    `drops` is asked with the name in lower case.
    """

    def __init__(
        self, drops: Callable[[bytes], bool], allow: Collection[str], never: frozenset[bytes]
    ) -> None:
        self._drops = drops
        self._never = never
        self._allowed = _lower(allow)
        self._verdicts: dict[bytes, bool] = {}

    def passes(self, name: bytes) -> bool:
        verdict = self._verdicts.get(name)
        if verdict is None:
            lower = name.lower()
            verdict = lower not in self._never and (
                lower in self._allowed or not self._drops(lower)
            )
            if len(self._verdicts) < NAMES_REMEMBERED_MAX:
                self._verdicts[name] = verdict
        return verdict

    def select(self, headers: RawHeaders) -> list[tuple[bytes, bytes]]:
        """The fields that pass, in their order and spelling.

        Fields that a Connection field names do not pass either.
        """
        verdicts = self._verdicts
        try:  # a look-up that is no call takes a third of the time
            kept = [pair for pair in headers if verdicts[pair[0]]]
        except KeyError:
            kept = [pair for pair in headers if self.passes(pair[0])]
        if type(headers) is Fields and b"connection" not in headers.by_name:
            return kept
        named = connection_options(headers)
        if named:
            kept = [pair for pair in kept if pair[0].lower() not in named]
        return kept


def outward_filter(
    *,
    keep_credentials: bool,
    replaced: Collection[str] = (),
    allow: Collection[str] = (),
    listed_only: bool = False,
) -> HeaderFilter:
    """Client to upstream. `replaced` are fields the upstream's config sets itself: the client's
    never go beside them.

    `keep_credentials`: what says who asks is the caller's own and passes; else it is a key for this
    proxy, or one that would have the vendor ask another in its name. `listed_only`: beside `allow`,
    only what `LISTED_HEADERS` names.
    """
    never = NEVER_OUTWARD | _lower(replaced)
    if not keep_credentials:
        never |= CREDENTIALS

    def drops(name: bytes) -> bool:
        if name in OUTWARD or name.startswith(OUTWARD_PREFIXES) or steers(name):
            return True
        if tells_a_key(name):
            return not keep_credentials
        return listed_only and name not in LISTED_HEADERS and not name.startswith(LISTED_PREFIXES)

    return HeaderFilter(drops, allow, never)


def inward_filter(*, allow: Collection[str] = (), to_page: bool = False) -> HeaderFilter:
    """Upstream to client. `to_page`: to a page of another origin, which gets the proxy's own
    permission and never the vendor's."""
    prefixes: tuple[bytes, ...] = INWARD_PREFIXES
    if to_page:
        prefixes = (*prefixes, PERMISSION)
        allow = [name for name in allow if not name.lower().startswith(PERMISSION.decode())]
    return HeaderFilter(
        lambda name: name in INWARD or name.startswith(prefixes), allow, NEVER_INWARD
    )


def is_credential(name: str) -> bool:
    """Whether a field of this name, in any spelling, says who asks."""
    return name.lower().encode() in CREDENTIALS


def _lower(names: Collection[str]) -> frozenset[bytes]:
    return frozenset(name.lower().encode("latin-1") for name in names)


def connection_options(headers: RawHeaders) -> frozenset[bytes]:
    """The field names (lower case) that Connection declares to be hop-by-hop, beyond the usual two.

    Not those that say how the body is read: a body without its Content-Encoding is another body
    than the one we decided on.
    """
    named = values(headers, b"connection")
    if not named:
        return frozenset()
    options = frozenset(option.strip().lower() for option in b",".join(named).split(b","))
    return options - BODY_FIELDS - {b"keep-alive", b"close", b""}


def index(headers: RawHeaders) -> Mapping[bytes, Sequence[bytes]]:
    """All values by name in lower case, for who asks for several names."""
    return (headers if type(headers) is Fields else Fields(headers)).by_name


def values(headers: RawHeaders, name: bytes) -> Sequence[bytes]:
    """All values of the field `name` (given in lower case), in order."""
    if type(headers) is Fields:
        return headers.by_name.get(name, ())
    size = len(name)
    return [value for key, value in headers if len(key) == size and key.lower() == name]


def first(headers: RawHeaders, name: bytes) -> bytes | None:
    """The first value of the field `name` (given in lower case), or None."""
    if type(headers) is Fields:
        found = headers.by_name.get(name)
        return None if found is None else found[0]
    size = len(name)
    for key, value in headers:
        if len(key) == size and key.lower() == name:
            return value
    return None


def first_text(headers: RawHeaders, name: bytes) -> str | None:
    """The same as text, whatever its bytes."""
    value = first(headers, name)
    return None if value is None else value.decode("latin-1")


def field_lines(fields: RawHeaders) -> bytes:
    """These fields as the lines of a head."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])
