"""When a connection may carry the next request, by what its upstream did behind earlier answers.

HTTP/1.1 allows a server to close a connection behind any answer without a word. A request that is
sent at that moment is lost, and a request that may have been billed is never sent twice. Some
servers close behind each answer, or only behind streams (llama.cpp), at once or a moment later. So
behind each kind of answer a connection rests first, until one has outlived its rest; and again for
a while once one has not.
"""

from __future__ import annotations

REST_S = 0.1  # a server that closes behind its answers has done so by then, on a busy machine too
# how long one close behind an answer is held against a server that keeps other connections
REMEMBERED_S = 60.0


class Reuse:
    """The ways of one upstream, by kind of answer: chunked or not. All times are monotonic."""

    def __init__(self) -> None:
        self._kept = {True: False, False: False}
        self._closed_s = {True: -REMEMBERED_S, False: -REMEMBERED_S}

    def at_once(self, chunked: bool) -> bool:
        """Whether a connection may carry the next request at once behind such an answer."""
        return self._kept[chunked]

    def ready(self, chunked: bool, idle_s: float) -> bool:
        """Whether an open connection, idle for so long, may carry the next request."""
        return self._kept[chunked] or idle_s >= REST_S

    def kept(self, chunked: bool, idle_s: float, now_s: float) -> None:
        """A connection was seen open `idle_s` behind such an answer."""
        if idle_s >= REST_S and now_s - self._closed_s[chunked] >= REMEMBERED_S:
            self._kept[chunked] = True

    def closed(self, chunked: bool, idle_s: float, now_s: float) -> None:
        """The upstream closed a connection `idle_s` behind such an answer.

        A late close is an ordinary end of keep-alive.
        """
        if idle_s < REST_S:
            self._kept[chunked] = False
            self._closed_s[chunked] = now_s
