"""A power cut, simulated: strace records what a process writes and syncs, and a cut keeps what was synced.

Of what was written after the last sync of its file, a cut keeps nothing, or some of it, torn at sectors: a
disk and a file system may do either.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TRACED = "pwrite64,write,ftruncate,fsync,fdatasync,unlink,unlinkat,openat"
SECTOR = 512
DATABASE = {".db", ".db-wal", ".db-journal"}
"""What has to survive; the shared-memory index is made anew."""

_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_FD = re.compile(r"^(\d+)<([^>]*)>")
_DATA = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?, (\d+)(?:, (\d+))?$')
_LENGTH = re.compile(r", (\d+)$")
_UNLINKED = re.compile(r'^"([^"]*)"')


@dataclass
class DiskFile:
    """`synced` is what a cut surely keeps; `pending` are writes (offset, bytes) that it may lose, with None
    for the bytes where the file was cut off at the offset.
    """

    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for offset, data in self.pending:
            _put(self.synced, offset, data)
        self.pending.clear()

    def after_cut(self, rng: random.Random | None) -> bytes:
        """With `rng`, each unsynced sector is kept or lost by chance; without, all are lost."""
        content = bytearray(self.synced)
        if rng is None:
            return bytes(content)
        for offset, data in self.pending:
            for start in range(0, len(data) if data is not None else 1, SECTOR):
                if rng.random() < 0.5:
                    _put(content, offset + start, data[start : start + SECTOR] if data is not None else None)
        return bytes(content)


@dataclass(frozen=True)
class Cut:
    """The files after a cut, and how many commits had been acknowledged by then."""

    acknowledged: int
    files: dict[str, bytes]

    def write_to(self, folder: Path) -> None:
        folder.mkdir()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


def cuts(trace: Path, folder: Path, seed: int) -> Iterator[Cut]:
    """The power fails right after each acknowledgement, once losing all that was not synced, once some."""
    rng = random.Random(seed)
    disk: dict[str, DiskFile] = {}
    acknowledged = 0
    for line in trace.read_text().splitlines():
        call = _CALL.match(line)
        if call is None or int(call[3]) < 0:
            continue
        fd = _FD.match(call[2])
        if fd is not None and fd[1] == "1" and call[1] == "write":
            acknowledged += 1
            for chance in (None, rng):
                kept = {name: file.after_cut(chance) for name, file in disk.items()}
                yield Cut(acknowledged, kept)
        elif fd is not None and (path := _path(fd[2])).parent == folder and path.suffix in DATABASE:
            _apply(disk.setdefault(path.name, DiskFile()), call[1], call[2])
        elif call[1] == "unlink" and (name := _UNLINKED.match(call[2])) is not None:
            disk.pop(_path(name[1]).name, None)


def _apply(file: DiskFile, name: str, arguments: str) -> None:
    if name in {"fsync", "fdatasync"}:
        file.sync()
    elif name == "pwrite64":
        data = _DATA.search(arguments)
        assert data is not None, arguments[-80:]
        assert data[2] is None
        file.pending.append((int(data[4]), bytes.fromhex(data[1].replace("\\x", ""))))
    elif name == "ftruncate":
        length = _LENGTH.search(arguments)
        assert length is not None
        file.pending.append((int(length[1]), None))


def _path(shown: str) -> Path:
    return Path(bytes.fromhex(shown.replace("\\x", "")).decode())


def _put(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
