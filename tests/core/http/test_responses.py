"""Answers without a request: their bytes, and that they say the connection ends."""

import pytest

from proxy.core.errors import invalid_request
from proxy.core.http.responses import phrase, plain_error


@pytest.mark.parametrize(
    ("status", "words"), [(200, "OK"), (429, "Too Many Requests"), (529, ""), (999, "")]
)
def test_the_words_behind_a_status(status: int, words: str) -> None:
    assert phrase(status) == words


def test_an_error_is_a_whole_answer() -> None:
    head, _, body = plain_error(invalid_request("Do better."), b"{}").partition(b"\r\n\r\n")
    assert body == b"{}"
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 400 Bad Request",
        b"Content-Type: application/json",
        b"x-tollkeeper-origin: proxy",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
    ]
