"""The OpenAPI document is what is served, and what is served keeps to it, whatever is asked."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.admin.control_socket import NAME
from proxy.admin.openapi import AdminRefusal
from tests.admin.test_access import routes_of
from tests.admin.test_tenants import Desk, desk
from tests.support.effort import examples
from tests.support.running import KEY

PAGE = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_every_reference_leads_somewhere_and_every_operation_is_told() -> None:
    document = json.loads(PAGE.read_text())
    for name in re.findall(r'"#/components/schemas/(\w+)"', PAGE.read_text()):
        assert name in document["components"]["schemas"]
    ids = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = (method, path)
            ids.append(operation["operationId"])
            assert operation["summary"].endswith(".") and len(operation["summary"]) <= 80, where
            assert {"200", "400", "401", "403", "500"} <= operation["responses"].keys(), where
            assert ("requestBody" in operation) == (method not in ("get", "head")), where
            places = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert places == set(re.findall(r"\{(\w+)\}", path)), where
    assert len(set(ids)) == len(ids) >= 30


WORDS = ("alice", "bob", "nobody", "research", "", "0", "1", "null", "true", "2026-11-01", "é\x00")


def value_of(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a schema, and now and then others."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return value_of(document["components"]["schemas"][name], document)
    if "anyOf" in schema:
        return st.one_of([value_of(choice, document) for choice in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            known = {
                name: value_of(told, document)
                for name, told in schema.get("properties", {}).items()
            }
            needed = {name: known[name] for name in schema.get("required", ())}
            others = {name: told for name, told in known.items() if name not in needed}
            return st.fixed_dictionaries(needed, optional=others) | st.dictionaries(
                st.sampled_from(WORDS), st.sampled_from(WORDS), max_size=2
            )
        case "array":
            return st.lists(value_of(schema["items"], document), max_size=3)
        case "string":
            return st.sampled_from(WORDS) | st.text(max_size=20)
        case "integer":
            return st.integers(-2, 12) | st.integers(-(2**70), 2**70)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return st.none() | st.booleans() | st.sampled_from(WORDS)


@st.composite
def requests(draw: st.DrawFn, document: dict[str, Any]) -> tuple[str, str, str, bytes | None]:
    """Method, path as the document has it, path as it is sent, and a body."""
    path = draw(st.sampled_from(sorted(document["paths"])))
    method = draw(st.sampled_from(sorted(document["paths"][path])))
    operation = document["paths"][path][method]
    sent, query = path, []
    for parameter in operation["parameters"]:
        value = draw(value_of(parameter["schema"], document))
        given = str(value).lower() if isinstance(value, bool) else str(value)
        if parameter["in"] == "path":
            sent = sent.replace(f"{{{parameter['name']}}}", quote(given or "x", safe=""))
        elif parameter["in"] == "query" and draw(st.booleans()):
            query.append((parameter["name"], given))
    body = None
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        told = draw(value_of(schema, document) | st.none())
        body = b"" if told is None else json.dumps(told).encode()
    return method, path, sent + (f"?{urlencode(query)}" if query else ""), body


def test_whatever_is_asked_the_answer_is_as_the_document_says(tmp_path: Path) -> None:
    document = json.loads(PAGE.read_text())
    asked: dict[tuple[str, int], int] = {}

    async def ask(admin: Desk, method: str, path: str, sent: str, body: bytes | None) -> None:
        connector = aiohttp.UnixConnector(str(admin.proxy.data_dir / NAME))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(
                method.upper(),
                f"http://control{sent}",
                data=body,
                headers={"Content-Type": "application/json"},
            ) as response,
        ):
            operation = document["paths"][path][method]
            said = operation["responses"].get(str(response.status))
            answer = await response.read()
            where = (method, sent, body, response.status, answer[:300])
            assert said is not None and response.status != 500, where
            assert response.content_type in said["content"], where
            if response.status == 200 and response.content_type == "application/json":
                [shape] = [
                    route.returns
                    for route in routes_of(admin.proxy)
                    if (route.method.lower(), route.path) == (method, path)
                ]
                msgspec.json.decode(answer, type=shape)
            elif response.status != 200:
                msgspec.json.decode(answer, type=AdminRefusal)
            key = (operation["operationId"], response.status)
            asked[key] = asked.get(key, 0) + 1

    with asyncio.Runner() as runner:
        context = desk(tmp_path)
        admin = runner.run(context.__aenter__())
        try:
            runner.run(admin.call(KEY))

            @settings(
                max_examples=examples(600),
                deadline=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(requests(document))
            def property(request: tuple[str, str, str, bytes | None]) -> None:
                runner.run(ask(admin, *request))

            property()
        finally:
            runner.run(context.__aexit__(None, None, None))
    assert {status for _, status in asked} >= {200, 400, 404}


@pytest.mark.parametrize("secret", ["api_key", "sk-", "Bearer "])
def test_no_example_is_a_secret(secret: str) -> None:
    assert secret not in PAGE.read_text()
