"""One JSON value or JSON lines, told by the first line, in any pieces."""

from __future__ import annotations

import pytest

from proxy.core.dialects.opening import Opening


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b'{"a":1}', None),
        (b'{"a":1}\n', None),
        (b'{"a":1} \r\n \n', None),
        (b'{"a":1}\n{', True),
        (b'{"a":1} \r\n\r\n {"b":2}', True),
        (b'{"a":1}\n[DONE]', True),
        (b'{"a":1}\ndata: {}', True),
        (b'{"a":{}\n,"b":1}', False),
        (b'{"a":{"b":{}\n}}', False),
        (b'{"a":[{}\n]}', False),
        (b'{\n"a":1}\n{', False),
        (b'{"a":\n{}}', False),
        (b'{"a":"' + b"x" * 60 + b'"}\n{', False),
    ],
)
def test_the_first_line_tells(body: bytes, lines: bool | None) -> None:
    for size in (1, 2, 3, len(body)):
        opening = Opening(60)
        for at in range(0, len(body), size):
            if opening.lines is None:
                opening.feed(body[at : at + size])
        assert opening.lines is lines
