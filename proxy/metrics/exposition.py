"""Writes the page of metrics in Prometheus' text format 0.0.4, without holding up the event loop.

A page is made in a thread, and a thread that only computes keeps the interpreter for 5 ms at a
time. Streams would falter for as long as the page takes. So this one calls `rest` every few dozen
samples, which hands the interpreter to the other threads. The library's own writer does not, and
takes several times longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from time import sleep

from prometheus_client import Metric

AT_A_TIME = 64  # samples: some 0.1 ms

rest: Callable[[], None] = partial(sleep, 0)  # gives the interpreter to a waiting thread


def page(families: Iterable[Metric]) -> bytes:
    """Every family with its help and type, and every sample; labels in alphabetical order."""
    parts: list[str] = []
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        help_text = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
        parts.append(f"# HELP {name} {help_text}\n# TYPE {name} {family.type}\n")
        for number, sample in enumerate(family.samples, 1):
            if not number % AT_A_TIME:
                rest()
            labels = sample.labels
            if labels:
                shown = ",".join(
                    [f'{label}="{_escaped(labels[label])}"' for label in sorted(labels)]
                )
                parts.append(f"{sample.name}{{{shown}}} {float(sample.value)!r}\n")
            else:
                parts.append(f"{sample.name} {float(sample.value)!r}\n")
    return "".join(parts).encode()


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value
