"""Codex and Claude Code as they are installed: a turn with a tool through the proxy is booked as
they count it themselves, and what the proxy refuses is shown in its words."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import msgspec
import pytest

from tests.clients.drivers import NODE
from tests.clients.test_other_wires import POOR, REFUSALS, endpoint, settings, stated, vendor
from tests.support.raw import raw_upstream
from tests.support.running import KEY, running
from tests.support.waiting import guard

PACKAGES = Path(__file__).parent / "commands" / "node_modules"
CODEX = PACKAGES / "@openai" / "codex" / "bin" / "codex.js"
CLAUDE = PACKAGES / "@anthropic-ai" / "claude-code-linux-x64" / "claude"
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}

pytestmark = pytest.mark.campaign


class Done(msgspec.Struct):
    """How a command ended, and all that it wrote."""

    status: int
    out: str
    err: str


async def ran(home: Path, program: Path, words: list[str | Path], environ: dict[str, str]) -> Done:
    if not program.exists():
        say = f"{program.name} is not installed: `make campaign` does it where npm can be reached"
        if "commands" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(say)
        pytest.skip(say)
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with guard():
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Done(process.returncode or 0, out.decode(), err.decode())


async def codex(home: Path, base_url: str, key: str) -> Done:
    (home / ".codex").mkdir(parents=True)
    # By its own provider it tries WebSocket first.
    (home / ".codex" / "config.toml").write_text(
        f'model = "gpt-4o"\nopenai_base_url = "{base_url}"\n'
    )
    flags = ["--skip-git-repo-check", "--sandbox", "read-only", "say hi"]
    keys = {"OPENAI_API_KEY": key, "CODEX_API_KEY": key}
    return await ran(home, CODEX, [NODE, CODEX, "exec", *flags], keys)


async def claude(home: Path, base_url: str, key: str) -> Done:
    home.mkdir(parents=True)
    flags = ["-p", "say hi", "--output-format", "json", "--model", "claude-sonnet-4-5"]
    where = {"ANTHROPIC_BASE_URL": base_url.removesuffix("/v1"), "ANTHROPIC_API_KEY": key}
    return await ran(home, CLAUDE, [CLAUDE, *flags], where | QUIET)


def codex_counts(done: Done) -> tuple[int, ...]:
    """Input that was not cached and output, as one number."""
    found = re.search(r"tokens used\s+([\d,]+)", done.err)
    assert found is not None, done
    return (int(found[1].replace(",", "")),)


def claude_counts(done: Done) -> tuple[int, ...]:
    usage = json.loads(done.out)["usage"]
    names = ("input_tokens", "cache_read_input_tokens", "output_tokens")
    return tuple(usage[name] for name in names)


@pytest.mark.parametrize("name", ["codex", "claude"])
async def test_a_turn_is_booked_as_the_command_counts_it(tmp_path: Path, name: str) -> None:
    command, wire = (codex, "responses") if name == "codex" else (claude, "messages")
    (tmp_path / "proxy").mkdir()
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path / "proxy", settings(upstream.url)) as proxy,
    ):
        done = await command(tmp_path / "home", proxy.base_url, KEY)
        visits = [visit for visit in upstream.visits if endpoint(visit) == wire]
        rows = await proxy.records(len(visits))
    assert done.status == 0, done
    assert len(visits) >= 2, "it ran a tool and sent what it gave back"
    for visit, row in zip(visits, rows, strict=True):
        assert {column: row[column] for column in stated(visit)} == stated(visit)
    read, cached, written = (
        sum(int(str(row[column] or 0)) for row in rows)
        for column in ("input_tokens", "cached_tokens", "output_tokens")
    )
    if name == "codex":
        assert codex_counts(done) == (read - cached + written,)
    else:
        assert claude_counts(done) == (read - cached, cached, written)


@pytest.mark.parametrize("name", ["codex", "claude"])
async def test_what_is_refused_is_shown(tmp_path: Path, name: str) -> None:
    command = codex if name == "codex" else claude
    for place in ("live", "dead"):
        (tmp_path / place).mkdir()
    async with raw_upstream(vendor) as gone:
        dead = settings(gone.url)
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path / "live", settings(upstream.url)) as proxy,
        running(tmp_path / "dead", dead) as alone,
    ):
        told = [
            await command(tmp_path / "wrong", proxy.base_url, "sk-wrong"),
            await command(tmp_path / "poor", proxy.base_url, POOR),
            await command(tmp_path / "unreachable", alone.base_url, KEY),
        ]
    words = list(REFUSALS)
    if name == "codex":
        words[1] = "Quota exceeded"  # its own words for a used-up quota
    for done, expected in zip(told, words, strict=True):
        assert done.status != 0 and expected in done.out + done.err, done
