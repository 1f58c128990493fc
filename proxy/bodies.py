"""Reading a request's body: whole, within its bounds of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from aiohttp import web
from aiohttp.streams import StreamReader

from proxy.core.errors import ProxyError, invalid_request, too_large


async def read_body(stream: StreamReader, *, bytes_max: int, idle_s: float, rate_min_bytes_s: int, arrived: Callable[[int], None]) -> bytes:
    """The whole body. `arrived` is told the size of each part and may raise. Raises ProxyError 413, 408 or 400; the connection closes after any of them."""
    parts: list[bytes] = []
    size = 0
    deadline_s = monotonic() + idle_s
    try:
        while not stream.at_eof():
            part = stream.read_nowait()
            if not part:
                async with asyncio.timeout(max(0.0, min(idle_s, deadline_s - monotonic()))):
                    part = await stream.readany()
            parts.append(part)
            size += len(part)
            arrived(len(part))
            deadline_s += len(part) / rate_min_bytes_s
            if size > bytes_max:
                raise too_large(bytes_max)
    except TimeoutError:
        message = f"The request body stalled after {size} bytes; it must arrive without pauses of {idle_s:g} s. Send it again."
        raise ProxyError(408, "invalid_request_error", "request_timeout", message, close=True) from None
    except (web.RequestPayloadError, OSError) as error:
        broken = invalid_request("The request body's framing is broken or it ended early. Send it again, whole.")
        broken.close = True
        raise broken from error
    return parts[0] if len(parts) == 1 else b"".join(parts)
