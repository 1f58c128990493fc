"""One message in the form of each receiver, to real servers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from proxy.config.settings import NotifySettings, Settings, SmtpSettings
from proxy.notify.attempt import Attempt
from proxy.notify.receivers import NoticeReceiver, receivers_of
from proxy.notify.sending import NoticeMessage, Sender
from tests.core.notices.samples import a_notice
from tests.notify.mail_server import mail_server
from tests.notify.receiver import hook

SECRET = "whsec_" + "QUJD" * 11


@contextlib.asynccontextmanager
async def sender() -> AsyncIterator[Sender]:
    one = Sender(lambda: time.time_ns() // 1_000_000)
    try:
        yield one
    finally:
        await one.aclose()


def receiver(**said: object) -> NoticeReceiver:
    [one] = receivers_of(Settings(notify=(NotifySettings(**said),)))
    return one


async def test_a_program_gets_a_signed_message_and_slack_and_teams_theirs() -> None:
    message = NoticeMessage("msg_1", (a_notice(),))
    async with hook() as there, sender() as one:
        for said in ({"secret": SECRET}, {"format": "slack"}, {"format": "teams"}):
            outcome = await one.send(receiver(url=there.url, **said), message)
            assert outcome == Attempt("delivered", "HTTP 200: ok")
        generic, slack, teams = there.posts
    assert generic.id == "msg_1"
    assert Webhook(SECRET).verify(generic.body.decode(), generic.headers)["type"] == "limit_near"
    assert set(slack.json) == {"text", "mrkdwn", "unfurl_links", "unfurl_media"}
    assert set(teams.json) == {"type", "attachments"}
    assert not any(name.startswith("webhook-") for name in {*slack.headers, *teams.headers})


async def test_mail_goes_to_all_addresses_of_a_receiver() -> None:
    async with mail_server() as box, sender() as one:
        to = receiver(mail=("a@example.com", "b@example.com"))
        smtp = SmtpSettings(host="localhost", port=box.port, tls="none", from_="tk@example.com")
        to = msgspec.structs.replace(to, smtp=smtp)
        message = NoticeMessage("msg_1", (a_notice("One."), a_notice("Two.")))
        assert (await one.send(to, message)).result == "delivered"
        [envelope] = box.envelopes
        assert envelope.rcpt_tos == ["a@example.com", "b@example.com"]


async def test_a_proxy_on_the_way_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the config, and not one that the environment names for other programs."""
    async with hook() as there, hook() as way, sender() as one:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        proxy = way.url.removesuffix("/hook/CANARY").replace("//", "//u:p@")
        for said in ({"proxy": proxy}, {}):
            attempt = await one.send(
                receiver(url=there.url, **said), NoticeMessage("m", (a_notice(),))
            )
            assert attempt.result == "delivered"
        assert (
            way.posts[0].headers["host"] in there.url
            and "proxy-authorization" in way.posts[0].headers
        )
        assert (len(way.posts), len(there.posts)) == (1, 1)
        attempt = await one.send(
            receiver(url=there.url, proxy="http://u:CANARY@127.0.0.1:1"),
            NoticeMessage("m", (a_notice(),)),
        )
        assert attempt.result == "again" and "CANARY" not in attempt.said
