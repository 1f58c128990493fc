"""Asks the running process, through the socket in its data directory or over TCP with a token.

`TOLLKEEPER_ADMIN_URL` (and `TOLLKEEPER_ADMIN_TOKEN`) name a process elsewhere. Without them the
process that runs on this data directory is asked, if there is one.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from proxy.admin.control_socket import NAME
from proxy.cli import common
from proxy.cli.common import Failed
from proxy.cli.lazy import later
from proxy.config.settings import Settings

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = later("aiohttp")

URL, TOKEN = "TOLLKEEPER_ADMIN_URL", "TOLLKEEPER_ADMIN_TOKEN"
NEXT = "x-tollkeeper-next"
CONNECT_S = 5.0
ANSWER_S = 120.0

_Answer = TypeVar("_Answer")


class NotFound(Failed):
    """The process says that there is no such thing."""


class AdminClient(msgspec.Struct, frozen=True):
    """A running process, and the way to it."""

    url: str
    socket: Path | None = None
    token: str = ""

    @property
    def name(self) -> str:
        return self.url if self.socket is None else str(self.socket)


class _Refusal(msgspec.Struct):
    message: str
    code: str | None = None


class _Refused(msgspec.Struct):
    error: _Refusal


def elsewhere() -> AdminClient | None:
    """The process that the environment names, if it names one."""
    return running(Path(), os.environ) if os.environ.get(URL) else None


def here(settings: Settings) -> AdminClient | None:
    """The process that runs on the config's data directory, if one does."""
    return running(settings.data_dir, {})


def needed(config_path: Path | None) -> AdminClient:
    """The process that the environment names, or that runs on this config. Raises Failed."""
    process = elsewhere()
    if process is None:
        settings = common.load_here(config_path).settings
        process = here(settings)
        if process is None:
            raise Failed(f"No process runs on {settings.data_dir}: a start reads the config.")
    return process


def running(data_dir: Path, environ: Mapping[str, str]) -> AdminClient | None:
    """The process to ask; None if none answers on this data directory.

    Raises Failed when one runs there that this user may not ask.
    """
    url = environ.get(URL, "").rstrip("/")
    if url:
        if not url.startswith(("http://", "https://")):
            raise Failed(f"{URL} {url!r} is no URL: write http://HOST:PORT, as in `admin.listen`.")
        # A token read from a file ends in a newline, which a header must not have.
        return AdminClient(url, token=environ.get(TOKEN, "").strip())
    path = data_dir / NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(str(path))
        except PermissionError as error:
            raise Failed(
                f"{path} belongs to another user: run this as the user of the proxy, or set {URL} "
                f"and {TOKEN}."
            ) from error
        except OSError:
            return None  # no file, no listener, or a path that is too long for any listener
    return AdminClient("http://control", path)


def ask(
    process: AdminClient,
    method: str,
    path: str,
    body: object = None,
    *,
    type: type[_Answer],
    patient: bool = False,
) -> _Answer:
    """One answer of the process. Raises Failed with its refusal, or why it cannot be asked.

    `patient`: it may take as long as it does, over the process's own socket. The end of the process
    ends the waiting.
    """
    answer, _ = _answered(process, method, path, body, patient=patient)
    try:
        return msgspec.json.decode(answer, type=type)
    except msgspec.MsgspecError as error:
        raise _stranger(process, 200) from error


def ask_known(process: AdminClient, path: str, *, type: type[_Answer]) -> _Answer | None:
    """What is at the path; None where there is no such thing. Raises Failed as `ask` does."""
    try:
        return ask(process, "GET", path, type=type)
    except NotFound:
        return None


def lines(process: AdminClient, path: str) -> tuple[bytes, int | None]:
    """A page of lines, and what to ask for next; None at the end. Raises Failed as `ask` does."""
    answer, following = _answered(process, "GET", path, None)
    if following is not None and not following.isdecimal():
        raise _stranger(process, 200)
    return answer, None if following is None else int(following)


def _answered(
    process: AdminClient, method: str, path: str, body: object, *, patient: bool = False
) -> tuple[bytes, str | None]:
    """The body of an answer, and its header that says what to ask for next."""
    encoded = msgspec.json.encode({} if body is None else body)
    most_s = None if patient and process.socket is not None else ANSWER_S
    try:
        status, answer, following = asyncio.run(_ask(process, method, path, encoded, most_s))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = f"The process at {process.name} does not answer: {error or 'it takes too long'}."
        raise Failed(
            f"{reason} If it has just ended, try again: without a process this works directly."
            if process.socket
            else f"{reason} Check {URL}, and `admin` in its config."
        ) from error
    if status == 200:
        return answer, following
    try:
        refusal = msgspec.json.decode(answer, type=_Refused).error
    except msgspec.MsgspecError as error:
        raise _stranger(process, status) from error
    if refusal.code == "invalid_api_key":
        raise Failed(
            f"{process.name} is the address for callers: put that of `admin.listen` into {URL}. "
            f"({refusal.code})"
        )
    if status == 401:
        raise Failed(
            f"{process.name} does not know the token: put one of its `admin.tokens` into {TOKEN}. "
            f"({refusal.code})"
        )
    failed = NotFound if status == 404 and refusal.code != "unknown_path" else Failed
    raise failed(f"{refusal.message} ({refusal.code})")


def _stranger(process: AdminClient, status: int) -> Failed:
    return Failed(
        f"What answers at {process.name} is no admin API of this version (status {status})."
    )


async def _ask(
    process: AdminClient, method: str, path: str, body: bytes, most_s: float | None
) -> tuple[int, bytes, str | None]:
    connector = None if process.socket is None else aiohttp.UnixConnector(str(process.socket))
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {process.token}"} if process.token else {}
    )
    timeout = aiohttp.ClientTimeout(total=most_s, sock_connect=CONNECT_S)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        session.request(
            method,
            process.url + path,
            data=body if method != "GET" else None,
            headers=headers,
            allow_redirects=False,
        ) as response,
    ):
        return response.status, await response.read(), response.headers.get(NEXT)
