"""Reads the export of another gateway: a file, or the admin API of a running LiteLLM."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from proxy.cli.common import Failed
from proxy.cli.lazy import later

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = later("aiohttp")

TOKEN = "TOLLKEEPER_IMPORT_TOKEN"
FILE_BYTES_MAX = 256 * 1024 * 1024
PAGES_MAX = 10_000
PAGE_SIZE = 100  # the most that LiteLLM gives
ANSWER_S = 60.0
_TEAMS = "/team/list"
_KEYS = "/key/list?return_full_object=true&include_team_keys=true"


class _Page(msgspec.Struct):
    keys: list[msgspec.Raw]
    total_pages: int | None = None


def texts_of(source: str) -> list[tuple[str, bytes]]:
    """The texts of a file or URL, each with its name. Raises Failed."""
    if source.startswith(("http://", "https://")):
        return asyncio.run(_asked(source.rstrip("/")))
    try:
        file = Path(source)
        if file.stat().st_size > FILE_BYTES_MAX:
            raise Failed(f"{source}: larger than {FILE_BYTES_MAX} bytes; split it.")
        return [(source, file.read_bytes())]
    except OSError as error:
        raise Failed(f"{source} cannot be read: {error.strerror or error}.") from error


async def _asked(url: str) -> list[tuple[str, bytes]]:
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise Failed(f"Put the master key of {url} into {TOKEN}.")
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            found = [(f"{url}{_TEAMS}", await _get(session, f"{url}{_TEAMS}"))]
            for number in range(1, PAGES_MAX + 1):
                at = f"{url}{_KEYS}&size={PAGE_SIZE}&page={number}"
                page = msgspec.json.decode(await _get(session, at), type=_Page)
                found.append((f"page {number}", msgspec.json.encode(page.keys)))
                if number >= (page.total_pages or 0):
                    return found
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Failed(f"{url} does not answer: {error or 'it takes too long'}.") from error
    except msgspec.MsgspecError as error:
        raise Failed(f"What answers at {url} is no LiteLLM: {error}.") from error
    raise Failed(f"{url} has more than {PAGES_MAX} pages of keys.")


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise Failed(f"{url} answers {response.status}: check the URL, and the key in {TOKEN}.")
        return await response.read()
