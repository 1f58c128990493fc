"""A request's head, and how one is known again that has been read before.

A client sends the same head with each of its requests, but for the digits of Content-Length, and
for what tells its requests apart to others (`_TELLING`). What follows from all the rest is the same
then, so a connection reads it once.
"""

from __future__ import annotations

import re

from proxy.core.http.gaps import mark
from proxy.core.http.headers import Fields, RawHeaders

KEPT_MAX = 4096  # bytes of a head that a connection keeps
_END = b"\r\n\r\n"
_LENGTH = b"content-length"
_LENGTH_DIGITS_MAX = 9
# Fields that differ with each request, and by which nothing is decided: the names of traces as
# OpenTelemetry, Zipkin, Jaeger, Datadog, Sentry, New Relic, Elastic, AWS, Google and Azure send
# them, and the names that SDKs and gateways give to a request and its tries.
_TELLING = frozenset(
    b"""traceparent tracestate baggage b3 x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled
    uber-trace-id x-datadog-trace-id x-datadog-parent-id x-datadog-sampling-priority x-datadog-tags
    sentry-trace newrelic elastic-apm-traceparent x-amzn-trace-id x-cloud-trace-context request-id
    x-request-id x-correlation-id x-client-request-id x-ms-client-request-id idempotency-key
    x-stainless-retry-count""".split()
)
# An empty value may differ too: two heads of one `key` must have gaps at the same places.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+: )([!-~]{0,256})")
_VALUES = re.compile(rb"[!-~]{0,1024}")  # nothing that two readers could see differently


class RequestHead:
    """Method, target, version and header fields as they came.

    `key`: all of its bytes but the values that may differ, if it may be known again by them.
    `telling`: the names of those, in lower case. `known`: what was worked out of it, for who did.
    The Content-Length among the fields is that of the first request.
    """

    __slots__ = (
        "__weakref__",
        "_end_bytes",
        "_key_hash",
        "_length_number",
        "_places",
        "_sizes",
        "headers",
        "http10",
        "key",
        "known",
        "method",
        "target",
        "telling",
        "version",
    )

    def __init__(
        self, method: str, target: str, version: tuple[int, int], fields: RawHeaders
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.http10 = version < (1, 1)
        self.headers = Fields(fields)
        self.key: bytes | None = None
        self.telling: list[bytes] = []
        self.known: object = None
        self._places: list[int] = []  # of the values that may differ, among the fields
        self._sizes: list[int] = []  # of what stands before each of them, behind the one before
        self._end_bytes = 0  # of what stands behind the last
        self._length_number = 0  # of the length, among the values that may differ
        self._key_hash: int | None = None

    def remember(self, known: object) -> None:
        """Keeps what was found to follow from it."""
        self.known = known

    @property
    def content_length(self) -> int | None:
        """As the first request of this head has it."""
        values = self.headers.by_name.get(_LENGTH)
        return int(values[0]) if values is not None and values[0].isdigit() else None

    @property
    def only_length(self) -> bool:
        """Whether nothing but its length may differ."""
        return len(self.telling) <= 1

    def learn(self, data: bytes) -> tuple[int, int, list[bytes]] | None:
        """Remembers the bytes of this head, which a parser has read at the beginning of `data`.

        Returns what `read` says of them. None, and nothing is kept, unless they are plain: each
        line ends as it should and is one field, and there is one length.
        """
        end = data.find(_END)
        named = self.headers.by_name
        head = data[: end + len(_END)]
        if (
            end < 0
            or len(head) > KEPT_MAX
            or len(named.get(_LENGTH, ())) != 1
            or b"transfer-encoding" in named
            or b"upgrade" in named
            or not head.startswith(self.method.encode() + b" ")
            or head.count(b"\n") != head.count(b"\r\n")
            or b"\r\n " in head
            or b"\r\n\t" in head
        ):
            return None
        start, *lines = head[: -len(_END)].split(b"\r\n")
        if len(lines) != len(self.headers):
            return None
        before, parts = start, []
        for place, line in enumerate(lines):
            before += b"\r\n"
            found = _FIELD.fullmatch(line)
            name = self.headers[place][0].lower()
            if (
                found is not None
                and (name == _LENGTH or name in _TELLING)
                and len(named[name]) == 1
                and found[1][:-2].lower() == name
                and found[2] == named[name][0]
            ):
                self.telling.append(name)
                self._places.append(place)
                parts.append(before + found[1])
                before = b""
            else:
                before += line
        if _LENGTH not in self.telling:
            return None
        parts.append(before + _END)
        *self._sizes, self._end_bytes = map(len, parts)
        self._length_number = self.telling.index(_LENGTH)
        self.key = b"".join(parts)
        self._key_hash = hash(self.key)
        return self.read(data)

    def read(self, data: bytes) -> tuple[int, int, list[bytes]] | None:
        """Reads the head that `data` begins with, if its bytes are those that were learned.

        Returns the body's length, where it begins, and the values that may differ; None for any
        other head, and for one that is not whole.

        The hashes are compared first, so that the time taken tells nothing about the credential in
        them to others on the same connection.
        """
        parts, values, at = [], [], 0
        for size in self._sizes:
            stop = at + size
            parts.append(data[at:stop])
            at = data.find(b"\r", stop)
            values.append(data[stop:at])
        end = at + self._end_bytes
        parts.append(data[at:end])
        key = b"".join(parts)  # as long as what was learned only if each part is
        if hash(key) != self._key_hash or key != self.key:
            return None
        if len(values) > 1 and _VALUES.fullmatch(b"".join(values)) is None:
            return None
        length = values[self._length_number]
        if not length.isdigit() or len(length) > _LENGTH_DIGITS_MAX:
            return None
        return int(length), end, values

    def fields(self, values: list[bytes]) -> Fields:
        """The fields of the request that has these values."""
        pairs, by_name = list(self.headers), dict(self.headers.by_name)
        for place, value in zip(self._places, values, strict=True):
            pairs[place] = pairs[place][0], value
        by_name.update(zip(self.telling, zip(values), strict=True))
        return Fields.indexed(pairs, by_name)

    def marked(self, headers: RawHeaders) -> RawHeaders:
        """These fields with marks in place of the values that may differ."""
        if self.only_length:
            return headers
        marks = {name: mark(number) for number, name in enumerate(self.telling)}
        return [(name, marks.get(name.lower(), value)) for name, value in headers]
