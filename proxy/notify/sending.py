"""One attempt to send one message, in the form that its receiver takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from proxy.core.notices.letters import letter
from proxy.core.notices.notice import Notice
from proxy.core.notices.payloads import generic, slack, teams
from proxy.core.notices.signature import signed
from proxy.notify.attempt import Attempt
from proxy.notify.mailing import mail
from proxy.notify.posting import Poster
from proxy.notify.receivers import NoticeReceiver


class NoticeMessage(msgspec.Struct, frozen=True):
    """Notices that go to one receiver together. The id is the same however often it is sent."""

    id: str
    notices: Sequence[Notice]


class Sender:
    """Sends by webhook and mail. `now_ms` is the time of day."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._poster = Poster()

    async def send(self, receiver: NoticeReceiver, message: NoticeMessage) -> Attempt:
        """One attempt; it never raises for what lies outside of this process."""
        said, now_ms = receiver.settings, self._now_ms()
        if said.mail:
            smtp = receiver.smtp
            return await mail(
                smtp, letter(message.notices, message.id, smtp.from_, said.mail, now_ms)
            )
        if said.format == "generic":
            [notice] = message.notices
            body = generic(notice)
            fields = signed(said.secret, message.id, now_ms // 1000, body)
            return await self._poster.post(said.url, fields, body, said.proxy)
        body = (slack if said.format == "slack" else teams)(message.notices)
        return await self._poster.post(said.url, {}, body, said.proxy)

    async def aclose(self) -> None:
        """Closes what is open. Nothing may be sent meanwhile."""
        await self._poster.aclose()
