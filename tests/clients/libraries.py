"""The libraries that people call OpenAI's API through: each runs in its own environment, as a
process that is given targets and tells what it yielded.

`make test` makes the environments: those of Python from frameworks/requirements in .venv/clients,
those of Node in node/node_modules.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.clients.drivers import NODE, NODE_DIR
from tests.support.waiting import guard

HERE = Path(__file__).parent

# Whether it asks streams for their usage by itself, as its documentation's first example uses it.
# docs/clients.md shows the same.
ASKS = {
    "langchain-openai": False, "litellm": False, "llm": True, "pydantic-ai": True, "openai-agents": False, "instructor": False,
    "ai-sdk-openai-compatible": False, "ai-sdk-openai": True, "langchain-js": True,
}  # fmt: skip
# The other APIs, by who asks for them here.
WIRES = {
    "responses": ("ai-sdk-openai", "pydantic-ai", "openai-agents", "langchain-openai"),
    "messages": ("anthropic-sdk", "ai-sdk-anthropic", "pydantic-ai"),
}
# To import these three takes as long as all others together, so `make test` leaves them to the
# campaign.
SLOW = ("langchain-openai", "litellm", "llm")
IN_NODE = {
    "anthropic-sdk": "@anthropic-ai/sdk",
    "ai-sdk-anthropic": "@ai-sdk/anthropic",
    "ai-sdk-openai-compatible": "@ai-sdk/openai-compatible",
    "ai-sdk-openai": "@ai-sdk/openai",
    "langchain-js": "@langchain/openai",
}

Target = tuple[str, str]
Yielded = dict[str, object]


class Told(msgspec.Struct):
    """What a driver says: for each target what each scenario yielded, by the scenario's name."""

    library: str
    results: list[Yielded]


def command(library: str, wire: str) -> list[str | Path]:
    """How to start its driver; skips the test where its environment is not installed, unless
    REQUIRE says that it must be."""
    if library in IN_NODE:
        installed, words = (
            NODE_DIR / "node_modules" / IN_NODE[library],
            [NODE, NODE_DIR / "frameworks.mjs", library, wire],
        )
    else:
        python = Path(sys.prefix) / "clients" / library / "bin" / "python"
        installed, words = (
            python.parent.parent / ".installed",
            [
                python,
                "-W",
                "ignore",
                HERE / "frameworks" / f"drive_{library.replace('-', '_')}.py",
                wire,
            ],
        )
    if not installed.exists():
        say = f"{library} is not installed: `make test` does it where the package registries can be reached"
        if ("node" if library in IN_NODE else "clients") in os.environ.get("REQUIRE", "").split(
            ","
        ):
            pytest.fail(say)
        pytest.skip(say)
    return words


async def run(
    directory: Path,
    library: str,
    targets: Sequence[Target],
    models: Sequence[str],
    *,
    wire: str = "chat",
) -> list[Yielded]:
    """What the library yields from each target, one after the other."""
    words = command(library, wire)
    job = msgspec.json.encode({"targets": targets, "models": models}) + b"\n"
    # Its own home, and nothing of ours on its path: what is installed here must not change what it
    # does.
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=directory,
        env=environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with guard():
            out, err = await process.communicate(job)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0 and out, (
        f"{library} ended with {process.returncode}:\n{err.decode(errors='replace')[-4000:]}"
    )
    told = msgspec.json.decode(out, type=Told)
    assert told.library == library and len(told.results) == len(targets)
    return told.results
