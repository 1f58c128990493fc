"""The JSON Schema of config.yaml, made from the settings' types.

Editors complete and check with it while one types.
"""

from __future__ import annotations

from msgspec import inspect

from proxy.config.effective import shown
from proxy.config.settings import LimitSettings, Settings
from proxy.config.values import FILED, KINDS

_VARIABLE = r".*\$\{.+\}.*"  # any scalar may come from the environment


def json_schema() -> dict[str, object]:
    """The schema as plain data (JSON Schema 2020-12)."""
    definitions: dict[str, object] = {}
    reference = _schema(inspect.type_info(Settings), {}, definitions)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tollkeeper's config.yaml",
    }
    return head | reference | {"$defs": dict(sorted(definitions.items()))}


def _struct(kind: inspect.StructType, definitions: dict[str, object]) -> dict[str, object]:
    """A reference to the definition of a block, which is added to `definitions` the first time."""
    name = kind.cls.__name__
    if name not in definitions:
        # Each is a text: stands in while the defaults are shown.
        required = {field.name: "" for field in kind.fields if field.required}
        defaults = shown(kind, kind.cls(**required), {})
        assert isinstance(defaults, dict)
        properties: dict[str, object] = {}
        for field in kind.fields:
            key = field.encode_name
            default = defaults.get(key)
            stated = (
                {}
                if field.required or key not in defaults or isinstance(default, dict)
                else {"default": default}
            )
            properties[key] = _schema(field.type, {}, definitions) | stated
            if (
                isinstance(field.type, inspect.Metadata)
                and (field.type.extra or {}).get("kind") in FILED
            ):
                properties[f"{key}_file"] = {
                    "type": "string",
                    "description": f"a file that holds {key}",
                }
        definitions[name] = {
            "type": "object" if required else ["object", "null"],
            "description": " ".join((kind.cls.__doc__ or "").split()),
            "properties": properties,
            "required": [field.encode_name for field in kind.fields if field.required],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}


def _schema(
    kind: inspect.Type, extra: dict[str, object], definitions: dict[str, object]
) -> dict[str, object]:
    if isinstance(kind, inspect.Metadata):
        return _schema(kind.type, kind.extra or {}, definitions) | (kind.extra_json_schema or {})
    if isinstance(kind, inspect.UnionType):
        return {
            "anyOf": [
                (
                    {"type": "null"}
                    if isinstance(choice, inspect.NoneType)
                    else _schema(choice, extra, definitions)
                )
                for choice in kind.types
            ]
        }
    if isinstance(kind, inspect.StructType):
        struct = _struct(kind, definitions)
        return {"anyOf": [{"type": "string"}, struct]} if kind.cls is LimitSettings else struct
    if isinstance(kind, inspect.DictType):
        return {
            "type": ["object", "null"],
            "additionalProperties": _schema(kind.value_type, {}, definitions),
        }
    if isinstance(kind, inspect.VarTupleType):
        return {"type": ["array", "null"], "items": _schema(kind.item_type, {}, definitions)}
    return _scalar(kind, extra)


def _scalar(kind: inspect.Type, extra: dict[str, object]) -> dict[str, object]:
    from_variable = {"type": "string", "pattern": f"^{_VARIABLE}$"}
    if isinstance(kind, inspect.LiteralType):
        return {"anyOf": [{"enum": sorted(str(value) for value in kind.values)}, from_variable]}
    if isinstance(kind, inspect.BoolType):
        return {"anyOf": [{"type": "boolean"}, from_variable]}
    name = extra.get("kind")
    if isinstance(kind, inspect.IntType) and name is None:
        bounds = {"minimum": extra["at_least"]} if "at_least" in extra else {}
        return {"anyOf": [{"type": "integer"} | bounds, from_variable]}
    pattern = KINDS[name].pattern if isinstance(name, str) else None
    if pattern is None:
        return {"type": "string"}
    text: dict[str, object] = {"type": "string", "pattern": f"^(?:{pattern}|{_VARIABLE})$"}
    return {"anyOf": [text, {"type": "integer", "minimum": 0}]} if name == "decimal" else text
