"""The campaign of damaged inputs:   python -m tests.fuzz.run --inputs 1000000 --seed 1 --out docs/campaigns

Half of the processors' worth of processes, each with a part of the numbers. Where atheris is
installed, as many inputs again that are guided by the branches they reach.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.util
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from proxy import __version__
from tests.fuzz.inputs import INPUT_BYTES_MAX, generate
from tests.fuzz.targets import SHARES, TARGETS

PART = 5_000  # inputs a process is given at once
GUIDED_ROOM_S = 7200
ROOT = Path(__file__).parents[2]


class Part(msgspec.Struct):
    """What a part of the inputs came to."""

    target: str
    inputs: int = 0
    seen: Counter[str] = Counter()
    findings: list[str] = []


def run(seed: int, target: str, numbers: range) -> Part:
    """The inputs of these numbers, each on its own; a finding says how to make its input again."""
    part = Part(target, len(numbers), Counter(), [])
    for number in numbers:
        try:
            part.seen[TARGETS[target](generate(seed, target, number))] += 1
        except Exception as error:  # whatever it is, it is what is looked for
            at = traceback.extract_tb(error.__traceback__)[-1]
            part.findings.append(
                f"generate({seed}, {target!r}, {number}): {type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {str(error)[:300]}"
            )
    return part


def parts(inputs: int) -> list[tuple[str, range]]:
    """The numbers of each target, in parts."""
    totals = {target: round(inputs * share) for target, share in SHARES.items()}
    return [
        (target, range(start, min(start + PART, total)))
        for target, total in totals.items()
        for start in range(0, total, PART)
    ]


def campaign(inputs: int, seed: int, jobs: int) -> dict[str, Part]:
    """All parts, so many processes at a time, summed by target."""
    sums = {target: Part(target, 0, Counter(), []) for target in TARGETS}
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        for part in pool.map(
            run, *zip(*((seed, target, numbers) for target, numbers in parts(inputs)), strict=True)
        ):
            total = sums[part.target]
            total.inputs += part.inputs
            total.seen += part.seen
            total.findings += part.findings
    return sums


def guided(inputs: int, seed: int) -> dict[str, str] | None:
    """What libFuzzer says at the end of each target's share, or None where atheris is not
    installed. Raises with the trace of a finding."""
    if importlib.util.find_spec("atheris") is None:
        return None
    said = {}
    for target, share in SHARES.items():
        with tempfile.TemporaryDirectory() as directory:
            corpus = Path(directory) / "corpus"
            corpus.mkdir()
            options = [
                f"-runs={round(inputs * share)}",
                f"-max_len={INPUT_BYTES_MAX}",
                f"-seed={seed}",
                "-rss_limit_mb=4096",
                "-timeout=60",
                f"-artifact_prefix={ROOT}/",
            ]
            command = [sys.executable, "-m", "tests.fuzz.guided", target, str(corpus), *options]
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=GUIDED_ROOM_S,
                check=False,
            )
        if done.returncode != 0:
            raise AssertionError(f"{target}: {done.stderr[-3000:]}")
        branches, features = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)[-1]
        [runs] = re.findall(r"Done (\d+) runs", done.stderr)
        said[target] = f"{runs} | {branches} | {features}"
    return said


def report(
    sums: dict[str, Part], said: dict[str, str] | None, seed: int, took_s: float, guided_s: float
) -> str:
    """The dated result, as Markdown."""
    inputs = sum(part.inputs for part in sums.values())
    findings = [finding for part in sums.values() for finding in part.findings]
    lines = [
        f"# Damaged inputs, {datetime.now(UTC):%Y-%m-%d}", "",
        f"Version {__version__}, seed {seed}, Python {platform.python_version()}, {platform.system()} {platform.machine()}; {inputs} inputs in {took_s:.0f} s.",
        "Each is a vendor's answer or a client's request, damaged, and read in up to four ways (whole, cut, by events or lines, byte by byte), which must agree and keep what",
        "`tests/fuzz/targets.py` says. That the work grows no faster than the input is counted apart (`tests/fuzz/test_work.py`).", "",
        "| reader | inputs | what they were | findings |", "|---|---|---|---|",
    ]  # fmt: skip
    for target, part in sums.items():
        seen = ", ".join(f"{word} {count}" for word, count in part.seen.most_common())
        lines.append(f"| {target} | {part.inputs} | {seen} | {len(part.findings)} |")
    if said is not None:
        lines += [
            "",
            f"Guided by the branches they reach (atheris), in {guided_s:.0f} s, no findings:",
            "",
            "| reader | inputs | branches | features |",
            "|---|---|---|---|",
        ]
        lines += [f"| {target} | {row} |" for target, row in said.items()]
    return "\n".join(
        [
            *lines,
            *(["", "Findings:", ""] + [f"- {finding}" for finding in findings] if findings else []),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--out", type=Path, help="directory of the report; else it is printed")
    options = parser.parse_args()
    started_s = time.monotonic()
    sums = campaign(options.inputs, options.seed, options.jobs)
    middle_s = time.monotonic()
    said = guided(options.inputs, options.seed)
    text = report(sums, said, options.seed, middle_s - started_s, time.monotonic() - middle_s)
    if options.out is None:
        print(text)
    else:
        (options.out / f"{datetime.now(UTC):%Y-%m-%d}-fuzz.md").write_text(text)
    sys.exit(any(part.findings for part in sums.values()))


if __name__ == "__main__":
    main()
