"""Inputs guided by the branches they reach, where atheris is installed: python -m tests.fuzz.guided
TARGET CORPUS_DIR [libFuzzer's options].

An input that breaks a promise ends the process with a trace, and libFuzzer writes it to a file
named crash-…
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

# What is imported in here is what branches are counted in.
with atheris.instrument_imports(include=["proxy.core"]):
    from tests.fuzz.inputs import TOKENS, corpus
    from tests.fuzz.targets import TARGETS
    from tests.fuzz.ways import HEAD_BYTES


def _ignored(_: str) -> None:
    """libFuzzer wants no answer."""


def main() -> None:
    target, directory, *options = sys.argv[1:]
    seeds = Path(directory)
    for number, text in enumerate(corpus(target)):
        (seeds / f"seed-{number}").write_bytes(bytes([number % 256] * HEAD_BYTES) + text)
    words = seeds.parent / f"{target}.dict"
    words.write_text(
        "\n".join('"' + "".join(f"\\x{byte:02x}" for byte in token) + '"' for token in TOKENS)
    )
    atheris.Setup(
        [sys.argv[0], directory, f"-dict={words}", *options],
        lambda data: _ignored(TARGETS[target](data)),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
