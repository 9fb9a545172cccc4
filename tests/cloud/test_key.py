"""The key: where it comes from, rotation, and that it shows nowhere."""

from __future__ import annotations

import os
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


def test_a_key_file_that_goes_and_comes_back_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("first-key")
    key = KeyFile(path)
    key.current()
    path.unlink()
    with pytest.raises(UnauthorizedError, match=str(path)):
        key.current()
    path.write_text("first-key")
    assert key.current() == "first-key"


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
async def test_a_missing_key_file_is_unauthorized_and_asks_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("keys") / "key"
    async with cloud(lambda request: reply({"regions": []}), key=KeyFile(path)) as c:
        with pytest.raises(UnauthorizedError, match=str(path)):
            await c.api.read_regions()
    assert not c.server.received
