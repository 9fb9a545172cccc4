"""JSON Schema of the configuration file, for editors and strict validators.

pydantic describes types. Conditions that validators check in Python are added here as far as JSON Schema can
express them: patterns, keys that exclude or need each other, and a receiver's keys by its `type`. Formats,
defaults and generated titles are removed: strict validators refuse formats they do not know, and durations
have their defaults in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nexusd.settings.model import Settings
from nexusd.settings.values import DURATION_PATTERN

Schema = dict[str, Any]

DURATION = "duration"
NON_ZERO = "nonZeroDuration"
_DROPPED = frozenset({"default", "format", "ge", "title", "writeOnly"})
_BY_NAME = frozenset({"$defs", "patternProperties", "properties"})
"""Keywords whose value maps names to schemas."""
_ENDS = r"[\uFEFF\r\n]*"
"""Characters that are removed from both ends of a secret."""
_URL = r"[hH][tT][tT][pP][sS]?://[^\s/?#]+[^\s]*"
_LOOPBACK = r"([lL][oO][cC][aA][lL][hH][oO][sS][tT]|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]+)?"
_SECRET_URL = {"pattern": f"^{_ENDS}{_URL}{_ENDS}$"}
_NETWORK = {"pattern": r"^[0-9a-fA-F:.]+(/[0-9]{1,3})?$"}
_TOKEN = {"pattern": f"^{_ENDS}[!-~]{{1,4096}}{_ENDS}$"}

VALUES: Mapping[tuple[str, str], Schema] = {
    ("CloudNexus", "base_url"): {
        "pattern": rf"^[hH][tT][tT][pP]([sS]://[^\s/?#@]+|://{_LOOPBACK})(/[^\s?#]*)?$"
    },
    ("CloudNexus", "api_key"): _TOKEN,
    ("CloudNexus", "proxy"): {"pattern": rf"^{_ENDS}[hH][tT][tT][pP]://[^\s/?#]+/?{_ENDS}$"},
    ("Server", "write_token"): _TOKEN,
    ("Server", "read_token"): _TOKEN,
    ("Server", "listen"): {"pattern": r"^[^\s/@]*:[0-9]{1,5}$"},
    ("Server", "external_url"): {"pattern": f"^{_URL}$"},
    ("Store", "url"): {"pattern": f"^{_ENDS}(sqlite:///[^/].*|sqlite:////.+|postgresql://.*){_ENDS}$"},
    ("WebhookReceiver", "url"): _SECRET_URL,
    ("HeartbeatReceiver", "url"): _SECRET_URL,
    ("AlertmanagerReceiver", "urls"): _SECRET_URL,
    **{(f"{kind}Receiver", "networks"): _NETWORK for kind in ("Webhook", "Alertmanager", "Heartbeat")},
}
"""Constraints on texts, by section and key."""


def _given(key: str) -> Schema:
    """Return the condition that a key has a value: null counts as absent."""
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _either(key: str) -> Schema:
    """Return the condition that a secret is set, as a value or as a file."""
    return {"anyOf": [_given(key), _given(f"{key}_file")]}


def _not_both(*keys: str) -> Schema:
    return {"not": {"allOf": [_given(key) for key in keys]}}


def _none_of(keys: Iterable[str]) -> Schema:
    return {"not": {"anyOf": [_given(key) for key in keys]}}


_BASIC = {"required": ["type"], "properties": {"type": {"const": "Basic"}}}
SECTIONS: Mapping[str, list[Schema]] = {
    "WebhookReceiver": [_either("url")],
    "HeartbeatReceiver": [_either("url")],
    "AlertmanagerReceiver": [_either("urls")],
    "AppriseReceiver": [_either("urls")],
    "Authorization": [
        {
            "if": _BASIC,
            "then": {
                "allOf": [
                    _given("username"),
                    _either("password"),
                    _none_of(["credentials", "credentials_file"]),
                ]
            },
            "else": {
                "allOf": [_either("credentials"), _none_of(["username", "password", "password_file"])],
            },
        }
    ],
    "ReceiverTls": [{"if": _given("key_file"), "then": _given("cert_file")}],
    "Refusal": [
        {
            "anyOf": [
                _given("status"),
                {"required": ["code"], "properties": {"code": {"type": "string", "pattern": r"[^*]"}}},
            ]
        }
    ],
}
"""Conditions between the keys of a section; `X` and `X_file` exclude each other everywhere."""


def json_schema() -> Schema:
    """Return JSON Schema (2020-12) of the file."""
    schema: Schema = _simplified(Settings.model_json_schema(by_alias=True))
    sections: Mapping[str, Schema] = schema["$defs"]
    for name, section in sections.items():
        _add_conditions(name, section)
    for (name, key), constraint in VALUES.items():
        _constrain(sections[name]["properties"][key], constraint)
    receivers = schema["properties"]["receivers"]
    receivers["items"] = _chosen_by_type(receivers["items"], sections)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nexusd configuration",
        "description": "Every key of nexusd's configuration file.",
        **{key: value for key, value in schema.items() if key not in ("description", "$defs")},
        "$defs": {**sections, **_durations()},
    }


def _simplified(node: Any) -> Any:
    """Return a schema without what editors and strict validators have no use for."""
    if isinstance(node, list):
        return [_simplified(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("pattern") == DURATION_PATTERN:
        described = {"description": node["description"]} if "description" in node else {}
        return {"$ref": f"#/$defs/{NON_ZERO if node.get('ge', 0) > 0 else DURATION}", **described}
    found = {
        key: _each_simplified(value) if key in _BY_NAME else _simplified(value)
        for key, value in node.items()
        if key not in _DROPPED
    }
    if "patternProperties" in found:
        found["additionalProperties"] = False
    if "propertyNames" in found:
        found["propertyNames"] = {"type": "string", **found["propertyNames"]}
    return found


def _each_simplified(named: Mapping[str, Any]) -> Schema:
    return {name: _simplified(value) for name, value in named.items()}


def _durations() -> Mapping[str, Schema]:
    text = {"type": "string", "pattern": DURATION_PATTERN}
    example = "A duration: 500ms, 30s, 5m, 1h30m, 30d"
    return {
        DURATION: {
            "description": f"{example}, or 0.",
            "anyOf": [text, {"type": "integer", "const": 0}],
        },
        NON_ZERO: {
            "description": f"{example}.",
            **text,
            "allOf": [{"type": "string", "pattern": "[1-9]"}],
        },
    }


def _add_conditions(name: str, section: Schema) -> None:
    keys = section.get("properties", {})
    twice = [_not_both(key, f"{key}_file") for key in keys if f"{key}_file" in keys]
    conditions = [*twice, *SECTIONS.get(name, [])]
    if conditions:
        section["allOf"] = conditions


def _constrain(value: Schema, constraint: Schema) -> None:
    """Add a constraint to every text that a value may be."""
    if value.get("type") == "string":
        value.update(constraint)
    for part in (*value.get("anyOf", ()), *([value["items"]] if "items" in value else ())):
        _constrain(part, constraint)


def _chosen_by_type(union: Schema, sections: Mapping[str, Schema]) -> Schema:
    """Return a union of sections as conditions on `type`.

    Errors and hints are then those of the section with that type.
    """
    kinds: Mapping[str, str] = union["discriminator"]["mapping"]
    properties = _shared_properties(kinds.values(), sections)
    properties["type"] = {"description": "The kind of receiver.", "type": "string", "enum": sorted(kinds)}
    branches = [
        {
            "if": {"required": ["type"], "properties": {"type": {"const": kind}}},
            "then": {"$ref": reference},
        }
        for kind, reference in sorted(kinds.items())
    ]
    return {"type": "object", "required": ["name", "type"], "properties": properties, "allOf": branches}


def _shared_properties(references: Iterable[str], sections: Mapping[str, Schema]) -> Schema:
    """Return the properties that all of the sections have."""
    each = [sections[reference.rpartition("/")[2]]["properties"] for reference in references]
    return {key: value for key, value in each[0].items() if all(key in other for other in each)}
