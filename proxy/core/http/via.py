"""`Via`: how this process knows a request that it has sent itself (RFC 9110, 7.6.3). Without it one
request to a route that leads back here becomes hundreds."""

from __future__ import annotations

from proxy.core.errors import ProxyError
from proxy.core.http.headers import RawHeaders, values


class Via:
    """The mark of one process.

    `name` is a pseudonym of its own: the machine's name is no vendor's business.
    """

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        # Goes behind the fields of the client's own Via, which pass: a loop may have many members.
        self.line = b"Via: 1.1 %b\r\n" % self._name

    def refuse_own(self, headers: RawHeaders) -> None:
        """Raises ProxyError 508 for a request that has passed through this process before."""
        for value in values(headers, b"via"):
            if self._name in value.replace(b",", b" ").split():
                message = (
                    "This request has passed through this proxy before: an upstream of its config"
                    " leads back to it. Nothing was forwarded. The operator has to correct the"
                    " base_url of that upstream."
                )
                raise ProxyError(
                    508,
                    "api_error",
                    "loop_detected",
                    message,
                    headers=(("x-should-retry", "false"),),
                )
