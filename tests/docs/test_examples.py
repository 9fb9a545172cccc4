"""The YAML of README and docs/ is what the program takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nexusd.emulator.scenario import load_scenario
from nexusd.settings import Settings, load
from tests.docs.pages import NAMES, blocks

EXAMPLES = [(name, text) for name in NAMES for language, text in blocks(name) if language == "yaml"]
OTHERS = frozenset(
    {"scrape_configs", "http_sd_configs", "route", "services", "receivers:", "apiVersion", "http"}
)
"""Top keys of what is for other programs, which have tests of their own."""


@pytest.mark.parametrize(("name", "text"), EXAMPLES)
def test_yaml_is_accepted(name: str, text: str, tmp_path: Path) -> None:
    keys = set(yaml.safe_load(text))
    if keys & OTHERS:
        return
    path = tmp_path / "nexusd.yaml"
    path.write_text(text.replace("/etc/nexusd/", f"{tmp_path}/"))
    if "faults" in keys:
        assert load_scenario(path)
        return
    for secret in ("api-key", "ops-secret", "write-token", "read-token", "ops-token"):
        (tmp_path / secret).write_text(f"a-{secret}\n")
    key = {} if "api_key_file" in text else {"CN_API_KEY": "key-1"}
    assert keys <= set(Settings.model_fields)
    assert load(path, {}, key)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 5
