"""Pages from bytes: what is as it was is used again, and the result is that of decoding all."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.cloud.pages import PageReader
from nexusd.cloud.wire import PartialPageError, decode_page
from nexusd.core.errors import BadAnswerError
from nexusd.core.records import Instance

RUNNING = {"id": "inst_1", "name": "web-1", "status": "running", "region": "us-east-1"}


def body(*records: Any, total: int = 10, offset: int = 0) -> bytes:
    meta = {"total": total, "limit": 100, "offset": offset}
    return msgspec.json.encode({"data": records, "meta": meta})


def numbered(number: int, **more: Any) -> dict[str, Any]:
    return {**RUNNING, "id": f"inst_{number}", "name": f"web-{number}", **more}


FLEET = [numbered(n) for n in range(10)]


def test_the_same_bytes_are_the_same_page() -> None:
    reader = PageReader()
    assert reader.decode(body(*FLEET), 0) is reader.decode(body(*FLEET), 0)


def test_records_that_are_as_they_were_stay_the_same_objects() -> None:
    reader = PageReader()
    before = reader.decode(body(*FLEET), 0)
    after = reader.decode(body(*FLEET[:3], numbered(3, status="stopped"), *FLEET[4:]), 0)
    same = [old is new for old, new in zip(before.rows, after.rows, strict=True)]
    assert same == [n != 3 for n in range(10)]
    assert after.rows[3].status == "stopped"


def test_a_record_that_is_written_otherwise_but_the_same_stays_the_same_object_of_the_snapshot() -> None:
    known: dict[str, Instance] = {}
    reader = PageReader(known.get)
    before = reader.decode(body(*FLEET), 0)
    known.update({row.id: row for row in before.rows})
    turned = dict(reversed(FLEET[3].items()))
    after = reader.decode(body(*FLEET[:3], turned, *FLEET[4:]), 0)
    assert [old is new for old, new in zip(before.rows, after.rows, strict=True)] == [True] * 10


def test_records_that_have_moved_stay_the_objects_of_the_snapshot() -> None:
    known: dict[str, Instance] = {}
    reader = PageReader(known.get)
    known.update({row.id: row for row in reader.decode(body(*FLEET), 0).rows})
    after = reader.decode(body(numbered(99), *FLEET), 0)
    assert all(row is known[row.id] for row in after.rows[1:])


def test_equal_texts_and_sizes_are_kept_once() -> None:
    size = {"cpu": 4, "ram_gb": 16, "disk_gb": 200}
    first, second = PageReader().decode(body(numbered(1, specs=size), numbered(2, specs=size)), 0).rows
    assert first.status is second.status
    assert first.region is second.region
    assert first.specs is second.specs


def test_meta_is_that_of_the_last_answer() -> None:
    reader = PageReader()
    reader.decode(body(*FLEET, total=10), 0)
    assert reader.decode(body(*FLEET, total=11), 0).total == 11


def test_a_page_that_was_not_read_in_a_sweep_is_forgotten() -> None:
    reader = PageReader()
    before = reader.decode(body(*FLEET), 0)
    reader.swept()
    reader.swept()
    assert reader.decode(body(*FLEET), 0) is not before


def test_a_changed_record_without_an_id_is_named() -> None:
    reader = PageReader()
    reader.decode(body(*FLEET), 0)
    broken = {key: value for key, value in FLEET[3].items() if key != "id"}
    with pytest.raises(PartialPageError, match="record 3 has no usable `id`"):
        reader.decode(body(*FLEET[:3], broken, *FLEET[4:]), 0)


values = st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=3), st.lists(st.integers(), max_size=1))
statuses = st.sampled_from(["running", "stopped", "a\u00e9", 'a"b'])
records = st.one_of(
    st.builds(numbered, st.integers(0, 12), name=values, region=values),
    st.builds(numbered, st.integers(0, 12), status=statuses),
    st.builds(numbered, st.integers(0, 12), status=values, public_ip=values, specs=values),
)
pages = st.lists(records, max_size=12)


def _reader_that_trusts_places() -> PageReader:
    """The broken one: it decodes what changed, and takes the rest from wherever it stood."""
    reader = PageReader()
    patched = reader._patched

    def wrong(known: Any, split: Any, hashes: Any) -> Any:
        if known is not None and split is not None and len(hashes) > len(known.records):
            hashes = hashes[: len(known.records)]
        return patched(known, split, hashes)

    reader._patched = wrong  # type: ignore[method-assign]
    return reader


def _disagrees(reader: PageReader, history: list[list[Any]]) -> bool:
    for listed in history:
        sent = body(*listed)
        try:
            expected: Any = decode_page(sent, "GET /instances").data
        except BadAnswerError as error:
            expected = str(error)
        try:
            found: Any = list(reader.decode(sent, 0).rows)
        except BadAnswerError as error:
            found = str(error)
        if found != expected:
            return True
    return False


@given(st.lists(pages, max_size=6))
def test_any_pages_one_after_the_other_are_what_decoding_each_gives(history: list[list[Any]]) -> None:
    assert not _disagrees(PageReader(), history)


def test_an_empty_page_after_one_that_cannot_be_split_is_empty() -> None:
    assert not _disagrees(PageReader(), [[{**FLEET[0], "name": "a\0"}], []])


def test_a_reader_that_overlooks_a_longer_page_is_caught() -> None:
    assert _disagrees(_reader_that_trusts_places(), [FLEET, [*FLEET, numbered(10)]])
