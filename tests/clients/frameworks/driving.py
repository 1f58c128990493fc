"""What the drivers share. Each runs one client library in that library's own environment, without
the proxy's package: so this file imports the standard library alone.

A line of stdin is {"targets": [[base_url, key], …], "models": […]}; the line of stdout that answers
it holds for each target what each scenario yielded, or `raised` and what its user is told. The word
on the command line is the API to use: chat, responses or messages.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

QUESTION = "Tell me a short story."
WEATHER = "What is the weather in Paris?"
REPORT = "sunny, 21 degrees"
# No library may look anything up on the way, or report that it was used.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LANGSMITH_TRACING": "false",
    "DO_NOT_TRACK": "1",
}

Scenarios = dict[str, Callable[[str, str, str], object]]


def wire() -> str:
    """The API to use."""
    return sys.argv[1]


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"{city}: {REPORT}"


def drive(library: str, scenarios: Scenarios) -> None:
    """Answers jobs until stdin ends. A scenario takes base URL, key and model and returns JSON;
    those named `… of each` run for every model, others for the first."""
    out, sys.stdout = sys.stdout, sys.stderr  # some libraries print
    for line in sys.stdin:
        job = json.loads(line)
        results = []
        for base_url, key in job["targets"]:
            seen = {}
            for name, scenario in scenarios.items():
                for model in job["models"] if name.endswith("of each") else job["models"][:1]:
                    seen[f"{name}: {model}"] = told(scenario, base_url, key, model)
            results.append(seen)
        out.write(json.dumps({"library": library, "results": results}) + "\n")
        out.flush()


def told(scenario: Callable[[str, str, str], object], *asked: str) -> object:
    """What it yields, or raises."""
    try:
        return scenario(*asked)
    except Exception as error:
        return {"raised": [type(error).__name__, str(error)]}
