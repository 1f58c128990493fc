"""The JSON Schema: it accepts what the reader accepts and refuses misspelt keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from proxy.config.schema import json_schema

SCHEMA = json_schema()


def accepts(schema: Mapping[str, object], value: object) -> bool:
    """The part of JSON Schema that ours uses."""
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        return accepts(SCHEMA["$defs"][name], value)  # type: ignore[index]
    if "anyOf" in schema:
        return any(accepts(choice, value) for choice in schema["anyOf"])  # type: ignore[attr-defined]
    if "enum" in schema:
        return value in schema["enum"]  # type: ignore[operator]
    types = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "boolean": bool,
        "null": type(None),
    }
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(
        isinstance(value, types[name]) and (name != "integer" or not isinstance(value, bool))
        for name in allowed
    ):
        return False
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties")
        return all(
            accepts(properties[key], item)
            if key in properties
            else others is not False and accepts(others, item)  # type: ignore[index, operator, arg-type]
            for key, item in value.items()
        ) and all(key in value for key in schema.get("required", []))  # type: ignore[attr-defined]
    if isinstance(value, list):
        return all(accepts(schema["items"], item) for item in value)  # type: ignore[arg-type]
    if isinstance(value, str):
        return "pattern" not in schema or re.search(str(schema["pattern"]), value) is not None
    return not isinstance(value, int) or "minimum" not in schema or value >= schema["minimum"]  # type: ignore[operator]


def test_the_shipped_config_fits() -> None:
    assert accepts(
        SCHEMA,
        yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text(encoding="utf-8")),
    )


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("timeouts: {connect: 1m30s}", True),
        ("timeouts: {connect: 10}", False),
        ("timeouts: {conect: 10s}", False),
        ("timeouts:", True),
        ("bodies: {max: 1GiB}", True),
        ("bodies: {max: 1}", False),
        ("inflight_max: 5", True),
        ("inflight_max: 0", False),
        ("inflight_max: '${N:-5}'", True),
        ("limits: [8 concurrent, {limit: 8 concurrent, burst: 1}]", True),
        ("limits: [{name: x}]", False),
        ("limits: [{limit: x, enforce: hard}]", False),
        ("keys: {a: {secret_file: x}}", True),
        ("keys: {a: {secret_fil: x}}", False),
        ("upstreams: {v: {api_key: x}}", False),
        ("upstreams: {v: {base_url: 'https://h', api_key_file: x}}", True),
        ("prices: [{model: m, input: 0.28}]", False),
        ("prices: [{model: m, input: '0.28', output: 3}]", True),
        ("log: {requests: '${R}'}", True),
    ],
)
def test_what_fits(text: str, fits: bool) -> None:
    assert accepts(SCHEMA, yaml.safe_load(text)) is fits


def test_defaults_and_descriptions_are_in_it() -> None:
    definitions = SCHEMA["$defs"]
    assert isinstance(definitions, dict)
    connect = definitions["TimeoutSettings"]["properties"]["connect"]
    assert connect["default"] == "10s"
    assert connect["description"] == "connecting to an upstream, TLS included"
    assert definitions["UpstreamSettings"]["required"] == ["base_url"]
