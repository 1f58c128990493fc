"""One reload of all children of a parent: the first has the admin API, and asks the others.

Each of the others has a control socket of its own in the data directory, which answers this alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from proxy.admin.app import AdminPlane
from proxy.admin.control_socket import NAME, NoControlSocket
from proxy.admin.reload import (
    RELOAD_PATH,
    AlsoReloaded,
    Reloaded,
    Reloading,
    ReloadOrder,
    reload_route,
)
from proxy.core.http.health import Health
from proxy.server.crew import Member

LOG = logging.getLogger("tollkeeper.server")
ANSWER_S: Final = 60.0  # of another child: new limits are counted first


class _OthersFault(msgspec.Struct, frozen=True):
    message: str


class _OthersRefusal(msgspec.Struct, frozen=True):
    error: _OthersFault


class CrewReload:
    """A reload of this child, then of the others. What this one refuses, no other one is asked."""

    def __init__(self, own: Reloading, data_dir: Path, member: Member) -> None:
        self._own = own
        self._others: Mapping[str, Path] = {
            name: socket_of(data_dir, number) for number, name in enumerate(member.names) if number
        }

    async def __call__(self, order: ReloadOrder) -> Reloaded:
        done = await self._own(order)
        others = await asyncio.gather(
            *(self._ask(name, path, order) for name, path in self._others.items())
        )
        ended = done.ended + sum(one.ended for one in others)
        return msgspec.structs.replace(done, ended=ended, others=others)

    async def _ask(self, name: str, path: Path, order: ReloadOrder) -> AlsoReloaded:
        target = f"http://control{RELOAD_PATH}?cut={'true' if order.cut else 'false'}"
        connector, timeout = aiohttp.UnixConnector(str(path)), aiohttp.ClientTimeout(ANSWER_S)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.post(target, json={"reason": order.reason}) as answer,
            ):
                text = await answer.read()
            if answer.status == 200:
                done = msgspec.json.decode(text, type=Reloaded)
                return AlsoReloaded(name, ended=done.ended)
            return AlsoReloaded(name, msgspec.json.decode(text, type=_OthersRefusal).error.message)
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError) as error:
            why = f"it does not answer ({error}); if it is starting, it reads the config then"
            return AlsoReloaded(name, why)


def socket_of(data_dir: Path, number: int) -> Path:
    """The control socket of a child; the first has that of the process."""
    return data_dir / NAME.replace(".", f"-{number}.")


async def open_for_reloads(
    reload: Reloading, data_dir: Path, member: Member, health: Health
) -> AdminPlane:
    """What lets the first child reload this one. To be closed."""
    plane = AdminPlane([reload_route(reload)], health)
    try:
        await plane.start_socket(socket_of(data_dir, member.number))
    except NoControlSocket as error:
        LOG.warning("`tollkeeper reload` will not reach this process: %s", error)
    return plane
