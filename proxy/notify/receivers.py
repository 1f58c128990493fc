"""Who is told: the receivers of a config, under names for people and ids for the database."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

import msgspec

from proxy.config.receivers import receivers
from proxy.config.settings import NotifySettings, Settings, SmtpSettings
from proxy.core.notices.notice import EVENTS, TEAM_EVENTS, Event, Notice
from proxy.core.notices.payloads import MERGED_MAX


class NoticeReceiver(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook, or addresses of mail.

    name · what the log and the command line call it
    id · what the database knows it by: a digest, since a webhook's URL is a secret
    team · whose notices it is told of; None: of everybody's
    """

    name: str
    id: str
    team: str | None
    settings: NotifySettings
    smtp: SmtpSettings

    @property
    def events(self) -> tuple[Event, ...]:
        """What it is told of."""
        concern = EVENTS if self.team is None else TEAM_EVENTS
        named = self.settings.events
        return concern if named is None else tuple(one for one in concern if one in named)

    @property
    def where(self) -> str:
        """Where it is, as far as that may be shown."""
        if self.settings.mail:
            return ", ".join(self.settings.mail)
        return urlsplit(self.settings.url).netloc

    @property
    def merged_max(self) -> int:
        """How many notices one message may hold: programs take one each."""
        one_each = not self.settings.mail and self.settings.format == "generic"
        return 1 if one_each else MERGED_MAX

    def wants(self, notice: Notice) -> bool:
        """Whether it is told of this."""
        return notice.event in self.events and self.team in (None, notice.team)


def receivers_of(settings: Settings) -> tuple[NoticeReceiver, ...]:
    """Every receiver that something can be sent to."""
    found: dict[str, NoticeReceiver] = {}
    for path, team, one in receivers(settings):
        if one.url or one.mail:
            place = " ".join((team or "", one.url, *sorted(one.mail)))
            while (id := hashlib.sha256(place.encode()).hexdigest()[:32]) in found:
                place += " again"  # the same place for other events
            found[id] = NoticeReceiver(
                name=one.name or path, id=id, team=team, settings=one, smtp=settings.smtp
            )
    return tuple(found.values())
