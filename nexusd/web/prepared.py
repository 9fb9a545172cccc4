"""The beginning of a body that is rendered once and served many times, plain or gzipped. Used by `scrape`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
"""RFC 1952, section 2.3: deflate, no name, no time, fastest, unknown system."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes, and the same as blocks of a deflate stream that refer to nothing before them."""

    plain: bytes
    deflated: bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """Pieces in order. `crc` and `size` are those of their plain bytes."""

    pieces: tuple[Piece, ...] = ()
    crc: int = 0
    size: int = 0


def piece(plain: bytes) -> Piece:
    """At the fastest level: a scrape is read once, next door."""
    compressor = zlib.compressobj(level=1, wbits=-15)
    return Piece(plain, compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH))


def prepare(pieces: Iterable[Piece]) -> Prepared:
    kept, crc, size = tuple(pieces), 0, 0
    for one in kept:
        crc = zlib.crc32(one.plain, crc)
        size += len(one.plain)
    return Prepared(kept, crc, size)


def plain(prepared: Prepared, rest: bytes) -> list[bytes]:
    """The body: what is prepared, and then the rest."""
    return [*(one.plain for one in prepared.pieces), rest]


def gzipped(prepared: Prepared, rest: bytes) -> list[bytes]:
    """The same as one member of gzip, of which only the rest is compressed now."""
    compressor = zlib.compressobj(level=1, wbits=-15)
    tail = compressor.compress(rest) + compressor.flush()
    size = (prepared.size + len(rest)) & 0xFFFFFFFF
    end = struct.pack("<II", zlib.crc32(rest, prepared.crc), size)
    return [_HEADER, *(one.deflated for one in prepared.pieces), tail, end]
