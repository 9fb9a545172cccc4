"""The key: where it comes from, rotation, and that it shows nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nexusd.cloud.key import KeyFile, LiteralKey
from nexusd.core.errors import UnauthorizedError
from tests.cloud.server import KEY, Reply, chain_text, cloud, error, reply
from tests.virtual_time import in_virtual_time


def test_a_key_file_is_stripped(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"  {KEY}\r\n")
    assert KeyFile(path).current() == KEY


@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_key_that_changes_is_read_again(tmp_path: Path, how: str) -> None:
    path, other = tmp_path / "key", tmp_path / "new"
    path.write_text("first-key")
    key = KeyFile(path)
    assert key.current() == "first-key"
    if how == "written":
        path.write_text("second-longer-key")
    else:
        other.write_text("other-key")
        status = path.stat()
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.rename(path)
    assert key.current() != "first-key"


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_text("")


def spoil(path: Path) -> None:
    path.write_text("two words")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("break_file", [remove, empty, spoil, replace_by_folder])
def test_a_key_file_that_breaks_leaves_the_last_good_key_with_one_warning(
    tmp_path: Path, break_file: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "key"
    path.write_text("first-key")
    key = KeyFile(path)
    key.current()
    break_file(path)
    assert [key.current() for _ in range(3)] == ["first-key"] * 3
    logged = capsys.readouterr().out
    assert logged.count("api_key_reload_failed") == 1
    assert str(path) in logged
    assert "first-key" not in logged
    if path.is_dir():
        path.rmdir()
    path.write_text("second-key")
    assert key.current() == "second-key"
    assert "api_key_reloaded" in capsys.readouterr().out


def test_the_key_that_the_configuration_had_stays_when_the_file_is_gone(tmp_path: Path) -> None:
    assert KeyFile(tmp_path / "key", "first-key").current() == "first-key"


@pytest.mark.parametrize("text", [f"\ufeff{KEY}", f"{KEY}\r\n", f"\ufeff{KEY}\ufeff\n"])
def test_byte_order_marks_and_line_breaks_are_no_part_of_a_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    assert KeyFile(path).current() == LiteralKey(text).current() == KEY


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"line\nbreak", b"\xff\xfe", b"k" * 5000])
def test_a_file_without_a_usable_key_is_an_error_that_names_the_file_only(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(UnauthorizedError, match=str(path)) as caught:
        KeyFile(path).current()
    assert "words" not in chain_text(caught.value)


def test_no_repr_shows_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    key = KeyFile(path)
    key.current()
    assert KEY not in repr(key) + repr(LiteralKey(KEY))


@in_virtual_time
async def test_a_rotated_key_is_used_by_the_next_request_without_a_restart(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("keys") / "key"
    path.write_text("old-key")

    def respond(request: object) -> Reply:
        used = c.server.requests[-1].headers["Authorization"]
        return reply({"regions": []}) if used == "Bearer new-key" else error(401, "UNAUTHORIZED", used)

    async with cloud(respond, key=KeyFile(path)) as c:
        with pytest.raises(UnauthorizedError) as caught:
            await c.api.read_regions()
        assert "old-key" not in chain_text(caught.value)
        path.write_text("new-key")
        await c.api.read_regions()


@in_virtual_time
async def test_a_key_file_that_is_emptied_changes_no_request(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("keys") / "key"
    path.write_text(KEY)
    async with cloud(lambda request: reply({"regions": []}), key=KeyFile(path)) as c:
        await c.api.read_regions()
        path.write_text("")
        await c.api.read_regions()
        assert c.server.requests[1].headers["Authorization"] == f"Bearer {KEY}"


@in_virtual_time
async def test_a_missing_key_file_is_unauthorized_and_asks_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("keys") / "key"
    async with cloud(lambda request: reply({"regions": []}), key=KeyFile(path)) as c:
        with pytest.raises(UnauthorizedError, match=str(path)):
            await c.api.read_regions()
    assert not c.server.received
