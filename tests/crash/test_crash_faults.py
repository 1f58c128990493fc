"""Steps that fail in a process that lives on: the proxy serves on, and after its end nothing is
open, lost, doubled or out of bounds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash.kills import VARIANTS, Outcome, Round, Variant
from tests.crash.load import SCENES, Load
from tests.crash.processes import launcher, upstream
from tests.crash.test_crash_kills import shares

pytestmark = pytest.mark.whole

SEED = 1
AT_ONCE = 8  # faults in one process
PASSES = (2, 3, 4)  # not the first: what fails at the start is a start that fails
PIECES = 300  # received by the clients while the faults happen
QUICK = tuple(scene for scene in SCENES if scene.name != "very slow stream")


def faults(names: list[str], rng: random.Random) -> list[str]:
    """Both actions at each name, in groups that one process is given."""
    chosen = [
        f"{name}={action}@{rng.choice(PASSES)}" for action in ("raise", "enospc") for name in names
    ]
    return [",".join(chosen[start : start + AT_ONCE]) for start in range(0, len(chosen), AT_ONCE)]


async def run(directory: Path, variant: Variant, seed: str, specs: list[str]) -> None:
    """A process for each spec, on one data directory: load, a request that works, kill, restart,
    compare."""
    outcome = Outcome()
    async with (
        upstream(directory / "upstream.jsonl", pace_s=0.001) as address,
        launcher() as launching,
    ):
        one = Round(directory, variant, seed, launching, address, outcome)
        for number, spec in enumerate(specs):
            proxy = await launching.start(one.config, spec)
            assert await proxy.is_ready(), f"seed {seed}, {spec}: it does not start"
            load = Load(proxy, str(number), seed, scenes=QUICK)
            await load.reached(PIECES)
            sent = await load.finished()
            assert not proxy.dead, f"seed {seed}, {spec}: it ended with {proxy.ended.result()}"
            after = Load(
                proxy,
                f"{number}-after",
                seed,
                clients=1,
                scenes=tuple(scene for scene in SCENES if scene.name == "json"),
            )
            await after.reached(1)
            sent += await after.finished()
            assert sent[-1].answer.status == 200, (
                f"seed {seed}, {spec}: it does not serve on: {sent[-1]}"
            )
            await proxy.kill()
            proxy = await launching.start(one.config)
            findings = await one.restarted(proxy, sent, faulted=True)
            await proxy.kill()
            assert not findings, "\n".join(
                f"seed {seed}, {spec}: {finding}" for finding in findings
            )


@pytest.mark.parametrize(
    ("variant", "names"),
    shares(),
    ids=lambda value: f"{value.sync}-{value.keep}" if isinstance(value, Variant) else "",
)
async def test_failing_at_every_named_point(
    tmp_path: Path, variant: Variant, names: list[str]
) -> None:
    seed = f"{SEED}/{variant.sync}/{variant.keep}"
    await run(tmp_path, variant, seed, faults(names, random.Random(seed)))


@pytest.mark.campaign
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant.sync}-{variant.keep}")
@pytest.mark.parametrize("name", sorted({name for _, names in shares() for name in names}))
async def test_failing_again_and_again_at_one_point(
    tmp_path: Path, variant: Variant, name: str
) -> None:
    if variant.passes(name):
        await run(
            tmp_path,
            variant,
            f"{SEED}/{name}",
            [
                f"{name}={action}@{number}"
                for action in ("raise", "enospc")
                for number in (2, 5, 20)
            ],
        )
