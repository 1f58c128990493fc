"""The answer to a client while it is relayed: its head, its framing, its end or visible cut."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from proxy.core.dialects.contract import UsageFilter
from proxy.core.http.content_coding import coding_name
from proxy.core.http.headers import field_lines
from proxy.core.http.masking import Mask, Watch
from proxy.core.http.response_head import NO_BODY, AnswerHead
from proxy.dataplane.connection import Request
from proxy.dataplane.upstream.upstream import Upstream

Headers = Sequence[tuple[bytes, bytes]]
_ANY_LENGTH = 2**62
NO_LINGERING = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class RelayedResponse:
    """One relayed answer. The head is built when the upstream's arrives and goes out with the first
    bytes behind it.

    Length framing stays as it came; what came chunked or ended with its connection goes out
    chunked, to an HTTP/1.0 client until close.
    `added`: header fields of ours. `tellable`: an event of ours can be put behind the upstream's.
    `open_ended`: no length was promised, so that it can end in order wherever the upstream broke
    off.
    `strip`: the request asked for usage on the client's behalf, so the event that only states it is
    taken out of a stream by this. `ends_with_connection`: the upstream ends
    this answer by closing, so that only a reset tells a cut from its end.
    """

    __slots__ = (
        "_chunked",
        "_client",
        "_head",
        "_mask",
        "_strip",
        "_tail",
        "_until_close",
        "_watch",
        "ends_with_connection",
        "open_ended",
        "tellable",
    )

    def __init__(
        self,
        request: Request,
        upstream: Upstream,
        head: AnswerHead,
        request_id: str,
        *,
        stream: bool,
        added: Headers = (),
        strip: UsageFilter | None = None,
    ) -> None:
        self._client = client = request.connection
        self._chunked = self._until_close = False
        self._tail = b""  # the last chunk, which waits for the record
        masking, named, code = upstream.masking, head.headers.by_name, head.code
        coding = named.get(b"content-encoding")
        if coding is None or (name := coding[0].decode("latin-1") or "identity") == "identity":
            plain = True
        else:
            plain = coding_name(name) == "identity"
        self._mask = Mask(masking) if plain and masking.forms else None
        self._watch = Watch(masking, name) if not plain and masking.forms else None
        length = None if head.chunked else named.get(b"content-length")
        self.open_ended = length is None
        self.ends_with_connection = length is None and not head.chunked and code not in NO_BODY
        # Some servers send a stream under another type or none, and clients that asked for one read
        # it as one: so the type decides nothing here.
        self._strip = strip if plain else None
        self.tellable = stream and code < 400 and plain and length is None
        reason, lines = upstream.start_for_the_client(head, to_page=request.origin is not None)
        if added:
            lines += field_lines(added)
        lines += b"x-tollkeeper-id: %b\r\n" % request_id.encode()
        if code >= 400:
            lines += b"x-tollkeeper-origin: upstream\r\n"
        if stream and b"\r\nx-accel-buffering:" not in b"\r\n" + lines.lower():
            lines += b"X-Accel-Buffering: no\r\n"
        if length is not None and self._strip is None and code not in NO_BODY:
            lines += b"Content-Length: %b\r\n" % length[0]
        elif code not in NO_BODY:
            lines += self._frame_anew(request)
        self._head = client.answer_head(request, code, reason, lines)

    def tells_our_credential(self, chunk: bytes) -> bool:
        """Whether this compressed chunk holds the operator's key, and cannot be passed on."""
        return self._watch is not None and self._watch.finds(chunk)

    @property
    def unsearched_bytes(self) -> int:
        """So long a text in an event may go to the client past `write`, in a chunk of its own.

        The same event with another text has passed before. 0: none may.
        """
        if self._head or not self._chunked or self._watch is not None:
            return 0
        if self._strip is not None and not self._strip.idle:
            return 0
        return _ANY_LENGTH if self._mask is None else self._mask.string_bytes_max

    def write(self, chunk: bytes) -> None:
        """Passes a chunk on, behind the head if that has not gone yet."""
        if self._strip is not None:
            chunk = self._strip.feed(chunk)
        if self._mask is not None:
            chunk = self._mask.feed(chunk)
        if chunk:
            self._client.write(self._take_head() + self._framed(chunk))
        else:
            self.begin()

    def begin(self) -> None:
        """Sends the head alone, once: the upstream has begun and nothing follows yet."""
        if self._head:
            self._client.write(self._take_head())

    def hold(self, chunk: bytes) -> None:
        """Keeps the last chunk until `end`."""
        self._tail = chunk if self._strip is None else self._strip.feed(chunk)

    def end(self) -> None:
        """The proper end, in one write with whatever was held."""
        rest = self._tail if self._strip is None else self._tail + self._strip.end()
        if self._mask is not None:
            rest = self._mask.last(rest)
        if self._chunked:
            rest = (self._framed(rest) if rest else b"") + b"0\r\n\r\n"
        self._client.write(self._take_head() + rest)

    def tell(self, event: bytes) -> bool:
        """Sends an event of ours behind the upstream's, as the last thing before `end`.

        False where the framing has no room for it.
        """
        if not self.tellable:
            return False
        # What ended with one line end may wait for the next one to begin.
        self._tail = event if self._strip is None else self._strip.end() + event
        self._strip = None
        return True

    def cut(self) -> None:
        """Ends the connection so that the answer is seen to be incomplete."""
        # Part of an event: what came is charged, so it is passed on.
        rest = b"" if self._strip is None else self._strip.end()
        if self._mask is not None:
            rest = self._mask.last(rest)
        if rest and not self._head:
            self._client.write(self._framed(rest))
        if self._until_close:
            transport = self._client.transport
            if transport is not None and not transport.is_closing():
                # Once all is sent, an abort alone ends in a FIN, just as the proper end; if the
                # socket may not linger, it ends in a reset.
                transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING
                )
            self._client.abort()
        else:
            self._client.cut()

    def _frame_anew(self, request: Request) -> bytes:
        """The fields that frame a body whose length is not known beforehand."""
        if request.http10:
            self._until_close = True
            self._client.close_after()
            return b""
        self._chunked = True
        return b"Transfer-Encoding: chunked\r\n"

    def _framed(self, chunk: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk

    def _take_head(self) -> bytes:
        head = self._head
        if head:
            self._head = b""
            self._client.head_goes_out()
        return head
