"""Every package that nexusd imports is declared, with a lower bound."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    *PROJECT["dependencies"],
    *(PROJECT["optional-dependencies"][extra][0] for extra in ("postgres", "apprise")),
]


def imported() -> Iterator[str]:
    """Yield the top-level name of each absolute import."""
    for path in (ROOT / "nexusd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield str(node.module).partition(".")[0]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_imported_package_is_declared() -> None:
    foreign = set(imported()) - set(sys.stdlib_module_names) - {"nexusd"}
    distributions = packages_distributions()
    needed = {normalized(distributions[name][0]) for name in foreign}
    assert needed <= {normalized(re.split(r"[\[>=]", each)[0]) for each in REQUIREMENTS}


def test_every_dependency_has_a_lower_bound() -> None:
    assert [each for each in REQUIREMENTS if ">=" not in each] == []


def patterns() -> Iterator[tuple[str, str]]:
    """Yield the file and the text of each regular expression of the standard library's."""
    for path in (ROOT / "nexusd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.") and node.args:
                pattern = node.args[0]
                if isinstance(pattern, ast.Constant) and isinstance(pattern.value, str | bytes):
                    value = pattern.value
                    yield str(path), value if isinstance(value, str) else value.decode("latin-1")


def is_possessive_or_atomic(pattern: str) -> bool:
    literals = r"\\.|\[(?:\\.|[^\]\\])*\]"
    return re.search(r"[*+?}]\+|\(\?>", re.sub(literals, "x", pattern)) is not None


def test_no_pattern_uses_what_the_first_pythons_3_11_match_wrongly() -> None:
    """Possessive quantifiers and atomic groups before 3.11.5: https://github.com/python/cpython/issues/106052."""
    assert is_possessive_or_atomic(r"a(b?)?+")
    assert not is_possessive_or_atomic(r"[*+]+\+")
    found = list(patterns())
    assert len(found) > 5
    assert [each for each in found if is_possessive_or_atomic(each[1])] == []
