"""A team's story in a real Chromium, by the keyboard and with scripts off; axe-core finds nothing.

`make screenshots` keeps pictures of what it sees.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.clients.chromium import Tab, tab
from tests.clients.drivers import NODE_DIR
from tests.clients.test_browser import browser
from tests.dataplane.endpoints.test_team_usage import KEYS
from tests.dataplane.pages.visitor import site
from tests.support.waiting import until

AXE = NODE_DIR / "node_modules" / "axe-core" / "axe.min.js"
# What axe-core looks for: WCAG 2.2 AA, and what it calls best practice.
FOUND = """axe.run(document).then(found => JSON.stringify(found.violations.map(
  one => [one.impact, one.id, one.nodes.map(node => node.html).slice(0, 3)])))"""


async def accessible(page: Tab, where: str) -> None:
    """axe-core finds nothing in the page, light and dark."""
    if not AXE.exists():
        say = "axe-core is not installed: `make test` does it where the npm registry can be reached"
        if "browser" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(say)
        pytest.skip(say)
    await page.call("Emulation.setScriptExecutionDisabled", value=False)  # axe-core needs timers
    await page.value(f"{AXE.read_text()}; 1")
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await page.call("Emulation.setEmulatedMedia", features=features)
        assert json.loads(await page.value(FOUND)) == [], (where, scheme)
        await page.picture(f"{where}-{scheme}")
    await page.call("Emulation.setScriptExecutionDisabled", value=True)


async def test_a_lead_goes_through_its_story_by_the_keyboard_without_scripts(
    tmp_path: Path,
) -> None:
    for name in ("chromium", "profile", "proxy", "downloads"):
        (tmp_path / name).mkdir()
    program = await browser(tmp_path / "chromium")
    async with site(tmp_path / "proxy") as admin, tab(program, tmp_path / "profile") as page:
        for _ in range(3):
            assert await admin.call(KEYS["bob"]) == (200, "")
        await admin.ask("POST", "/admin/v1/keys/shut/suspend", {})
        assert (await admin.call(KEYS["shut"]))[0] == 401
        await admin.proxy.records(len(KEYS) + 3)
        reader = admin.proxy.server.services.reader
        await until(lambda: reader.refusals(None, None))
        await page.call("Emulation.setScriptExecutionDisabled", value=True)
        await page.call(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(tmp_path / "downloads"),
        )
        await page.open(f"http://{admin.proxy.address}/ui")
        await accessible(page, "sign-in")

        await page.focus("key")
        await page.call("Input.insertText", text=KEYS["alice"])
        before = page.loads
        await page.press("Enter")
        await until(lambda: page.loads > before)
        assert "994 requests left of 1000" in await page.text(), "how much is left"
        await accessible(page, "limits")

        await page.follow("Use")
        used = await page.text()
        assert used.index("bob") < used.index("shut"), "who spent most"
        await accessible(page, "use")
        await page.focus("Download the month as csv")
        await page.press("Enter")
        await until(lambda: list((tmp_path / "downloads").glob("usage-*.csv")))
        [saved] = (tmp_path / "downloads").glob("usage-*.csv")
        assert saved.read_text().startswith("day,key,model,requests,")

        await page.follow("Refusals")
        assert "The key is suspended. key_suspended" in await page.text(), "why it was refused"
        await accessible(page, "refusals")

        await page.follow("Requests")
        await accessible(page, "requests")
        newest = await page.value("document.querySelector('tbody a').innerText")
        await page.follow(newest)
        assert "each rounded" not in await page.text() and "= 0.013 USD" in await page.text()
        await accessible(page, "request")

        await page.follow("Sign out")
        assert "Your API key" in await page.text()
        await page.open(f"http://{admin.proxy.address}/ui/use")
        assert "Your API key" in await page.text()
        assert {url.split("/")[2] for url in page.asked} == {admin.proxy.address}
        assert not [one for one in page.complaints if "Content Security Policy" in one]
        assert not [url for url in page.asked if KEYS["alice"] in url]
