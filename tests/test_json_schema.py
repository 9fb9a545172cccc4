"""The JSON Schema of the configuration: validity, and strict validators."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexusd.core.errors import ConfigError
from nexusd.settings import Settings
from nexusd.settings.json_schema import DURATION, NON_ZERO, SECTIONS, VALUES, json_schema
from nexusd.settings.keys import leaves
from nexusd.settings.yamlfile import parse
from tests.docs.pages import NAMES, ROOT, blocks
from tests.npm import install
from tests.requirements import need, need_program
from tests.test_settings import MISTAKES

AJV = "ajv@8.17.1"
FORMATS = "ajv-formats@3.0.1"
WEBHOOK = "name: a, type: webhook, url: 'https://x.example'"

ACCEPTED = [
    "{}",
    "polling: {regions: 0.5s, instances: 1h30m}",
    "placement: {settle: 0, smoothing: null}",
    "cloudnexus: {base_url: 'http://LOCALHOST:8080/v1'}",
    "cloudnexus: {base_url: 'HTTPS://api.example/@v1', api_key: null, api_key_file: key}",
    "server:\n  listen: ':9650'\n  write_token: |\n    token\n",
    "cloudnexus: {proxy: 'http://user:pw@proxy.example:3128/'}",
    "server: {listen: '[::]:9650'}",
    "store: {url: 'sqlite:///relative.db'}",
    "store: {url: 'postgresql://u:p%23w@host:5432/db?sslmode=require'}",
    f"receivers: [{{{WEBHOOK}, secret: [a, b], networks: [10.0.0.0/8, 'fd00::/8']}}]",
    "receivers: [{name: a, type: webhook, url: null, url_file: x, tls: {cert_file: c, key_file: k}}]",
    "receivers: [{name: a, type: alertmanager, urls: 'http://am:9093'}]",
    "receivers: [{name: a, type: alertmanager, urls_file: [a, b]}]",
    "receivers: [{name: a, type: apprise, urls: ['json://x']}]",
    "receivers: [{name: a, type: heartbeat, url_file: x, interval: 30s}]",
    f"receivers: [{{{WEBHOOK}, authorization: {{credentials: x}}}}]",
    f"receivers: [{{{WEBHOOK}, authorization: {{type: Basic, username: u, password_file: p}}}}]",
    "placement: {refusals: [{code: 'X*', kind: quota, scope: region}]}",
]
REFUSED = [
    "cloudnexus: {api_key: k, api_key_file: f}",
    "cloudnexus: {base_url: 'http://127.0.0.1.example/v1'}",
    "cloudnexus: {base_url: 'https://api.example/v1?x=1'}",
    "cloudnexus: {base_url: 'https://user@api.example/v1'}",
    "cloudnexus: {api_key: two words}",
    "cloudnexus: {proxy: 'https://proxy.example:3128'}",
    "cloudnexus: {proxy: 'http://proxy.example:3128', proxy_file: f}",
    "server: {write_token: two words}",
    "server: {external_url: nowhere}",
    "polling: {regions: 0}",
    "polling: {regions: 0s}",
    "polling: {regions: 5 minutes}",
    "store: {url: 'mysql://u@host/db'}",
    "receivers: [{type: webhook, url: 'https://x.example'}]",
    "receivers: [{name: a, type: webhook, url: 'ftp://x.example'}]",
    "receivers: [{name: a, type: webhook, url: null}]",
    "receivers: [{name: a, type: webhook, url: 'https://x.example', url_file: f}]",
    "receivers: [{name: a, type: webhook, url: 'https://x.example', interval: 1m}]",
    "receivers: [{name: a, type: heartbeat}]",
    "receivers: [{name: a, type: alertmanager}]",
    "receivers: [{name: a, type: alertmanager, url: 'https://x.example'}]",
    "receivers: [{name: a, type: apprise}]",
    f"receivers: [{{{WEBHOOK}, authorization: {{}}}}]",
    f"receivers: [{{{WEBHOOK}, authorization: {{type: Basic, username: u}}}}]",
    f"receivers: [{{{WEBHOOK}, authorization: {{type: Basic, credentials: x}}}}]",
    f"receivers: [{{{WEBHOOK}, authorization: {{credentials: x, username: u}}}}]",
    f"receivers: [{{{WEBHOOK}, tls: {{key_file: k}}}}]",
    f"receivers: [{{{WEBHOOK}, tls: {{insecure: true}}}}]",
    f"receivers: [{{{WEBHOOK}, headers: {{'a b': x}}}}]",
    f"receivers: [{{{WEBHOOK}, networks: [home]}}]",
    "alerts: {rules: {RegionUnhealthy: {labels: {a-b: x}}}}",
    "alerts: {rules: {RegionUnhealthy: {for: soon}}}",
    "alerts: {custom: [{name: A, each: fleet}]}",
    "placement: {refusals: [{code: '*', kind: quota, scope: region}]}",
    "routes: [{receivers: []}]",
]
BEYOND_A_SCHEMA = (
    "cannot be read",  # files
    "expected at least 100ms, got 1ms",  # arithmetic
    "got '1.2.3.4:99999'",
    "is the name of a member of",  # what other entries say
    "differs only in case from",
    "no receiver",
    "unknown field",  # CEL
)
"""Parts of errors about what a schema cannot express."""


def documents(texts: list[str]) -> list[Any]:
    return [parse(text, "test").data for text in texts]


def mistakes() -> Iterator[str]:
    """Return the mistakes of the configuration's tests that a schema can express."""
    for text, error in MISTAKES:
        if any(part in error for part in BEYOND_A_SCHEMA):
            continue
        try:
            parse(text, "test")
        except ConfigError:
            continue
        yield text


def examples() -> Iterator[str]:
    """Every example of a configuration: config/nexusd.yaml, README and docs/."""
    yield (ROOT / "config" / "nexusd.yaml").read_text()
    keys = set(Settings.model_fields)
    for name in NAMES:
        for language, text in blocks(name):
            if language == "yaml" and keys >= set(yaml.safe_load(text)):
                yield text


RIGHT = documents([*ACCEPTED, *examples()])
WRONG = documents([*REFUSED, *mistakes()])


def test_every_key_is_described_and_unknown_ones_are_refused() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {key.split(".")[0].split("[")[0] for key, _ in leaves(Settings)}
    for section in schema["$defs"].values():
        assert section.get("type") != "object" or section["additionalProperties"] is False


def test_durations_are_one_of_two_types() -> None:
    keys = json_schema()["$defs"]["Placement"]["properties"]
    assert keys["settle"]["$ref"].endswith(f"/{DURATION}")
    assert keys["provisioning_timeout"]["$ref"].endswith(f"/{NON_ZERO}")


def test_it_has_no_format_no_default_and_no_keyword_of_openapi() -> None:
    text = json.dumps(json_schema())
    for keyword in ("format", "default", "discriminator", "writeOnly"):
        assert f'"{keyword}"' not in text.replace('"format": {', "")  # `log.format` is a key


def test_a_receivers_keys_follow_from_its_type() -> None:
    receivers = json_schema()["properties"]["receivers"]["items"]
    assert receivers["required"] == ["name", "type"]
    chosen = {
        branch["if"]["properties"]["type"]["const"]: branch["then"]["$ref"] for branch in receivers["allOf"]
    }
    assert set(chosen) == set(receivers["properties"]["type"]["enum"])
    assert chosen["webhook"] == "#/$defs/WebhookReceiver"


def test_additions_are_about_sections_and_keys_that_exist() -> None:
    sections = json_schema()["$defs"]
    assert set(SECTIONS) <= set(sections)
    for section, key in VALUES:
        assert key in sections[section]["properties"]


@pytest.mark.slow  # the validator comes with the development tools
def test_a_python_validator_accepts_examples_and_refuses_mistakes() -> None:
    need(find_spec("jsonschema_rs"), "jsonschema-rs is not installed")
    validator = import_module("jsonschema_rs").validator_for(json_schema())
    assert [document for document in RIGHT if not validator.is_valid(document)] == []
    assert [document for document in WRONG if validator.is_valid(document)] == []


_STRICT = """
const [schema, right, wrong] = JSON.parse(require("fs").readFileSync(0));
const Ajv = require("ajv/dist/2020");
const plain = new Ajv({strict: true}).compile(schema);
const formats = require("ajv-formats")(new Ajv({strict: true})).compile(schema);
const say = (list, expected) => list.filter((one) => plain(one) !== expected || formats(one) !== expected);
console.log(JSON.stringify([say(right, true), say(wrong, false)]));
"""


@pytest.mark.slow  # npm installs the validator
def test_ajv_in_strict_mode_accepts_examples_and_refuses_mistakes(tmp_path: Path) -> None:
    modules = install(tmp_path, AJV, FORMATS)
    ran = subprocess.run(
        [need_program("node"), "-e", _STRICT],
        input=json.dumps([json_schema(), RIGHT, WRONG]),
        cwd=modules.parent,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [[], []]
