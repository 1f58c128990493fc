"""The OpenAPI 3.1 document of the admin API, made of the shapes that its routes read and write.

`docs/openapi.json` is the same, written by `make openapi`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from inspect import cleandoc
from typing import Any

import msgspec

from proxy.admin.app import NEXT
from proxy.admin.auth import READING
from proxy.admin.endpoint import AdminEndpoint, AdminRequest

OPENAPI_PATH = "/admin/v1/openapi.json"
_EVERY = (400, 401, 403, 500)
_WRITING = (408, 413, 415)
_SAID = {
    400: "What was sent is not what this takes; the message says what to change.",
    401: "There is no token, or none that is known.",
    403: "The token may not do this, or a web page or a foreign host name asks.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    409: "This contradicts what is there.",
    413: "The body is too large.",
    415: "The body is not said to be JSON.",
    422: "It can be read and not be done; the message says why.",
    500: "The proxy failed; its log says why.",
    503: "The ledger, or the store of limits, cannot be used now: try again.",
}
_PLACES = {
    "name": "A key's or team's name.",
    "id": "A record's id, which is the `x-tollkeeper-id` of its answer.",
    "limit": "A limit's id, as the list of limits shows it.",
    "version": "A `price_version` that records name.",
    "number": "A closed statement's number, as the list of statements shows it.",
}


class AdminFault(msgspec.Struct, frozen=True):
    """Why it was refused: a message for people, and a code for programs."""

    message: str
    type: str
    param: str | None
    code: str


class AdminRefusal(msgspec.Struct, frozen=True):
    """The shape of every refusal."""

    error: AdminFault


class Document(msgspec.Struct, frozen=True):
    """An OpenAPI 3.1 document."""

    openapi: str
    info: dict[str, str]
    security: list[dict[str, list[str]]]
    paths: dict[str, dict[str, Any]]
    components: dict[str, Any]


def with_document(routes: Sequence[AdminEndpoint]) -> Sequence[AdminEndpoint]:
    """The routes, and one more that tells of all of them."""

    async def answer(_ask: AdminRequest) -> Document:
        return document(every)

    about = "Show this document."
    every = (*routes, AdminEndpoint("GET", OPENAPI_PATH, about, answer, returns=Document))
    return every


def document(routes: Iterable[AdminEndpoint]) -> Document:
    """The document of these routes."""
    routes = list(routes)
    shapes: dict[type, None] = {AdminRefusal: None}
    for route in routes:
        for shape in (route.query, route.body, route.returns):
            if isinstance(shape, type):
                shapes[shape] = None
    refs, schemas = msgspec.json.schema_components(
        shapes, schema_hook=_anything, ref_template="#/components/schemas/{name}"
    )
    known = dict(zip(shapes, refs, strict=True))
    for schema in schemas.values():
        schema["description"] = cleandoc(schema.get("description", ""))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known, schemas)
    queries = {route.query.__name__ for route in routes if route.query is not None}
    return Document(
        openapi="3.1.0",
        info={
            "title": "Tollkeeper admin API",
            "version": "1",
            "description": "Keys, teams, limits and the book of a usage-metering proxy. On TCP it "
            "takes a token of `admin.tokens`. A request that changes something says `Content-Type: "
            "application/json`, also without a body. Amounts named `…_nano` are billionths of the "
            "currency, times named `…_ms` Unix milliseconds; null is not known.",
        },
        security=[{"token": []}],
        paths=paths,
        components={
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {name: said for name, said in schemas.items() if name not in queries},
        },
    )


def _operation(
    route: AdminEndpoint, known: Mapping[type, Any], schemas: Mapping[str, Any]
) -> dict[str, Any]:
    reads = route.method in READING
    statuses = sorted({*_EVERY, *route.errors, *(() if reads else _WRITING)})
    fault = {"application/json": {"schema": known[AdminRefusal]}}
    told: dict[str, Any] = {
        "operationId": _id(route),
        "summary": route.about,
        "parameters": list(_parameters(route, schemas)),
        "responses": {"200": _answer(route, known)}
        | {str(status): {"description": _SAID[status], "content": fault} for status in statuses},
    }
    if route.query is not None and route.query.__struct_fields__:
        told["description"] = schemas[route.query.__name__].get("description", "")
    if route.body is not None:
        told["requestBody"] = {"content": {"application/json": {"schema": known[route.body]}}}
    return told


def _answer(route: AdminEndpoint, known: Mapping[type, Any]) -> dict[str, Any]:
    if isinstance(route.returns, type):
        shape = {"application/json": {"schema": known[route.returns]}}
        return {"description": "Done.", "content": shape}
    text = {"schema": {"type": "string"}}
    answer: dict[str, Any] = {
        "description": "The lines.",
        "content": dict.fromkeys(route.returns, text),
    }
    if route.query is not None and "limit" in route.query.__struct_fields__:
        what = "What to ask for with `after`; it is not there at the end."
        answer["headers"] = {NEXT: {"description": what, "schema": {"type": "integer"}}}
    return answer


def _parameters(route: AdminEndpoint, schemas: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", route.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PLACES[name],
            "schema": {"type": "string"},
        }
    if route.query is not None:
        for name, schema in schemas[route.query.__name__].get("properties", {}).items():
            yield {"name": name, "in": "query", "schema": _told(schema)}
    if route.once:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Asked again under the same key within a day, this gives its first "
            "answer again.",
            "schema": {"type": "string", "maxLength": 255},
        }


def _told(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema: one that may be left out is not null, it is not there."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if not choices:
        return dict(schema)
    [choice] = choices
    return {**choice}


def _id(route: AdminEndpoint) -> str:
    words = re.findall(r"\w+", route.path.removeprefix("/admin/v1/"))
    return route.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _anything(kind: type) -> dict[str, Any]:
    """The schema of what may be any JSON."""
    assert kind in (object, msgspec.Raw), kind
    return {"description": "Any JSON."}
