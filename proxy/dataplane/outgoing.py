"""A request as it goes out: its head for the upstream and its body.

There are two of them where it also asks for the stream's usage.
"""

from __future__ import annotations

from time import monotonic

from proxy.core.dialects.contract import Call, Dialect
from proxy.core.http.gaps import Template
from proxy.core.http.headers import values
from proxy.dataplane.connection import Request
from proxy.dataplane.known_caller import Way
from proxy.dataplane.request_body import BodyMemory, Payload
from proxy.dataplane.services import Services


def payload_of(
    services: Services,
    request: Request,
    dialect: Dialect,
    way: Way,
    call: Call,
    body: bytes,
    key_id: str,
    memory: BodyMemory,
) -> Payload:
    """Both heads with their bodies. A second body takes memory, which may raise 503.

    For an alias, `body` and `call` have the upstream's name for the model already.
    """
    upstream = way.upstream
    head = way.head
    if head is None:
        head = Template(
            upstream.head_start(
                request.method,
                request.target,
                request.head.marked(request.headers),
                via=services.via.line,
                renamed=way.sent is not None,
            )
        )
        way.keep_head(head)
    start = head.filled(request.values)
    plain = b"%bContent-Length: %d\r\n\r\n%b" % (start, len(body), body)
    spliced = None
    if call.stream:
        spliced = _spliced(services, request, dialect, way, call, body, key_id)
    if spliced is None:
        return Payload(plain, None, memory)
    memory.take(len(spliced))  # both are held until the vendor has answered
    return Payload(spliced, plain, memory)


def _spliced(
    services: Services,
    request: Request,
    dialect: Dialect,
    way: Way,
    call: Call,
    body: bytes,
    key_id: str,
) -> bytes | None:
    """The request that also asks for the stream's usage, if the upstream's config wants that and
    the body can say it."""
    ask, upstream = dialect.ask_for_usage, way.upstream
    if (
        ask is None
        or upstream.settings.stream_usage != "inject"
        or (way.sent is None and values(request.headers, b"content-encoding"))
        or not services.usage_refusals.may_ask(upstream.name, call.model, key_id, monotonic())
    ):
        return None
    spliced = ask(body, call)
    if spliced is None:
        return None
    head = upstream.head(
        request.method,
        request.target,
        request.headers,
        len(spliced),
        via=services.via.line,
        spliced=True,
    )
    return head + spliced
