"""Every command of nexusd that README and docs/ show exists, with the options that are shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from nexusd import cli
from nexusd.cli.lazy import load
from tests.docs.pages import NAMES, blocks, inline_code

_ASSIGNED = re.compile(r"[A-Z_]+=")
_NAME = re.compile(r"[a-z][a-z-]*")
_SEPARATORS = frozenset({"|", "&&", "||", ";", "(", ")", "&", ">", "<"})
COMMANDS = {name: load(name, entry) for name, entry in cli.COMMANDS.items()}


def shown(name: str) -> Iterator[list[str]]:
    """The words of each command line after `nexusd`, as far as they are one."""
    lines = [
        line for language, text in blocks(name) if language in ("", "console", "sh") for line in _lines(text)
    ]
    for line in [*lines, *inline_code(name)]:
        words = _words(line)
        for number, word in enumerate(words):
            begins = number == 0 or words[number - 1] in _SEPARATORS or _ASSIGNED.match(words[number - 1])
            if word.rpartition("/")[2] == "nexusd" and begins:
                yield _until_separator(words[number + 1 :])


def _lines(text: str) -> list[str]:
    return text.replace("\\\n", " ").splitlines()


def _words(line: str) -> list[str]:
    try:
        lexer = shlex.shlex(re.sub(r"^[$#] ", "", line.strip()), posix=True, punctuation_chars="&;()<>")
        lexer.whitespace_split = True
        return list(lexer)
    except ValueError:  # a quotation mark in what is no command line
        return []


def _until_separator(words: list[str]) -> list[str]:
    end = next((number for number, word in enumerate(words) if word in _SEPARATORS), len(words))
    return words[:end]


def complaint(words: list[str]) -> str | None:
    """What is wrong with a command line; None where nothing is. `check|show` stands for either."""
    if not words or words[0].startswith("-"):
        return None
    command = COMMANDS.get(words[0])
    if command is None:
        return f"there is no command {words[0]}"
    rest = [part for word in words[1:] for part in word.split("|")]
    options = _options(command)
    if hasattr(command, "commands"):
        names = words[1].split("|") if len(words) > 1 else []
        missing = [name for name in names if _NAME.fullmatch(name) and name not in command.commands]
        if missing:
            return f"there is no command {words[0]} {missing[0]}"
        options |= {
            option
            for name in names
            if name in command.commands
            for option in _options(command.commands[name])
        }
    unknown = [word for word in rest if word.startswith("-") and word.partition("=")[0] not in options]
    return f"{words[0]} has no option {unknown[0]}" if unknown else None


def _options(command: Any) -> set[str]:
    return {"--help", "-h"} | {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_are_shown_exist_with_their_options(name: str) -> None:
    assert [found for words in shown(name) if (found := complaint(words))] == []


def test_every_command_is_shown_somewhere() -> None:
    used = {words[0] for name in NAMES for words in shown(name) if words}
    assert set(COMMANDS) <= used


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nexusd statsu", "there is no command statsu"),
        ("nexusd config chek", "there is no command config chek"),
        ("nexusd config check|shwo", "there is no command config shwo"),
        ("nexusd place x --paln pro", "place has no option --paln"),
        ("nexusd silence add x -x", "silence has no option -x"),
        ("CN_API_KEY=x nexusd run --nope", "run has no option --nope"),
        ("pip install . && nexusd demmo", "there is no command demmo"),
        ("nexusd resolve ID --exists|--absent", None),
        ("nexusd outbox list|replay", None),
        ("nexusd instances | head -3", None),
    ],
)
def test_a_wrong_one_is_found(line: str, said: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.test_commands.blocks", lambda _: [])
    monkeypatch.setattr("tests.docs.test_commands.inline_code", lambda _: [line])
    assert [complaint(words) for words in shown("README.md")] == [said]
