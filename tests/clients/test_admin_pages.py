"""An administrator's stories in a real Chromium, by the keyboard and with scripts off.

Each story says how many clicks it takes: links and buttons that are followed behind the sign-in.
axe-core finds nothing. `make screenshots` keeps pictures of what it sees.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

from proxy.admin.pages.admin_pages import FILES, TEMPLATES
from proxy.dataplane.pages.rendering import Rendering
from tests.admin.pages.office import office
from tests.admin.test_tenants import Desk
from tests.clients.chromium import Tab, tab
from tests.clients.test_browser import browser
from tests.clients.test_pages import accessible
from tests.dataplane.endpoints.test_team_usage import ADMIN, BLOCKS, KEYS
from tests.support.waiting import until

OIDC = {
    "issuer": "https://login.example.com",
    "client_id": "tollkeeper",
    "client_secret": "s3cr3t+9Qm2/ZtW8rLx2PbNc7HsD",
    "redirect": "https://gateway.example.com/ui/oidc",
}


class Story:
    """One tab, and how many clicks were made since the story began."""

    def __init__(self, page: Tab) -> None:
        self.page = page
        self.clicks = 0

    async def follow(self, words: str) -> None:
        await self.page.follow(words)
        self.clicks += 1

    async def write(self, id: str, text: str) -> None:
        """Types into a field, which the Tab key leads to."""
        await self.page.focus(id)
        await self.page.call("Input.insertText", text=text)


@contextlib.asynccontextmanager
async def signed_in(tmp_path: Path) -> AsyncIterator[tuple[Desk, Story]]:
    for name in ("chromium", "profile", "proxy"):
        (tmp_path / name).mkdir()
    program = await browser(tmp_path / "chromium")
    teams = {**BLOCKS["teams"], "research": {"limits": ["9 requests/month", "500 USD/month"]}}
    async with (
        office(tmp_path / "proxy", teams=teams, admin={"oidc": OIDC}) as admin,
        tab(program, tmp_path / "profile") as page,
    ):
        for _ in range(5):
            assert await admin.call(KEYS["bob"]) == (200, "")
        assert (await admin.call(KEYS["dave"], "m-2"))[0] == 403
        await admin.proxy.records(len(KEYS) + 5)
        reader = admin.proxy.server.services.reader
        await until(lambda: reader.refusals(None, None))
        await page.call("Emulation.setScriptExecutionDisabled", value=True)
        await page.open(f"http://{admin.proxy.server.addresses.admin}/ui")
        await page.focus("key")
        await page.call("Input.insertText", text=ADMIN)
        before = page.loads
        await page.press("Enter")
        await until(lambda: page.loads > before)
        yield admin, Story(page)
        assert {url.split("/")[2] for url in page.asked} == {admin.proxy.server.addresses.admin}
        assert not [one for one in page.complaints if "Content Security Policy" in one]
        assert not [url for url in page.asked if ADMIN in url]


async def test_stories_by_the_keyboard_without_scripts(tmp_path: Path) -> None:
    async with signed_in(tmp_path) as (admin, story):
        page, clicks = story.page, {}

        shown = await page.text()  # who spent most: without a click
        assert shown.index("research") < shown.index("lab", shown.index("Who spent most"))
        assert "88 %" in shown and "The key may not call this model" in shown
        await accessible(page, "admin-overview")

        story.clicks = 0  # and on which requests
        await story.follow("8")  # of the team research
        await accessible(page, "admin-requests")
        newest = await page.value(
            "document.querySelectorAll('tbody')[1].querySelector('a').innerText"
        )
        await story.follow(newest)
        assert "3 × 1000 USD / 1,000,000 = 0.003 USD" in await page.text()
        await accessible(page, "admin-request")
        await story.follow("m-* (config)")
        assert "per million tokens" in await page.text()
        await accessible(page, "admin-price")
        clicks["a number, its requests, its formula, its price"] = story.clicks

        story.clicks = 0  # why a request was refused
        await story.follow("Refusals")
        assert "model_not_allowed" in await page.text() and "dave" in await page.text()
        await accessible(page, "admin-refusals")
        clicks["why a request was refused"] = story.clicks

        story.clicks = 0  # suspend a key, with what runs
        await story.follow("Keys")
        await accessible(page, "admin-keys")
        await story.follow("bob")
        await accessible(page, "admin-key")
        await story.write("suspend-reason", "leaked, ticket 4711")
        await story.follow("Suspend bob")
        assert "It is suspended" in await page.text()
        assert await admin.call(KEYS["bob"]) == (401, "key_suspended")
        clicks["suspend a key"] = story.clicks

        story.clicks = 0  # a new key
        await story.follow("Keys")
        await story.follow("New key")
        await accessible(page, "admin-new-key")
        await story.write("f-name", "ci")
        await story.write("f-team", "lab")
        await story.write("f-limits", "100 requests/day")
        await story.follow("Make the key")
        text = await page.text()
        [secret] = re.findall(r"sk-tk-\w+", text)
        assert await admin.call(secret) == (200, "")
        await accessible(page, "admin-made")
        clicks["create a key"] = story.clicks

        for name in ("Use", "Teams", "Limits", "Prices", "Audit", "Ledger", "Config"):
            await story.follow(name)
            await accessible(page, f"admin-{name.lower()}")
        await story.follow("Limits")
        await story.follow("9 requests/month")
        await accessible(page, "admin-limit")
        assert clicks == {
            "a number, its requests, its formula, its price": 3,
            "why a request was refused": 1,
            "suspend a key": 3,
            "create a key": 3,
        }
        await story.follow("Ledger")
        await story.follow("Verify the audit")
        assert "Every entry of the audit is as it was written" in await page.text()
        await accessible(page, "admin-verified")
        await page.open(f"http://{admin.proxy.server.addresses.admin}/ui/nowhere")
        assert "There is no such page" in await page.text()
        await accessible(page, "admin-error")
        await page.open(f"http://{admin.proxy.server.addresses.admin}/ui")
        await story.follow("Sign out")
        text = await page.text()
        assert "Your admin token" in text and "sign in at login.example.com" in text
        await accessible(page, "admin-sign-in")
        await arrived(page)


async def arrived(page: Tab) -> None:
    """The page behind a sign-in at a provider goes on by itself: here it stays."""
    html = Rendering(FILES, TEMPLATES).page("arrived", who="ann@example.com").decode()
    staying = re.sub(r"<meta http-equiv=.?refresh[^>]*>", "", html)
    assert staying != html
    frame = (await page.call("Page.getFrameTree"))["frameTree"]["frame"]["id"]
    await page.call("Page.setDocumentContent", frameId=frame, html=staying)
    assert "signed in as ann@example.com" in await page.text()
    await accessible(page, "admin-arrived")
