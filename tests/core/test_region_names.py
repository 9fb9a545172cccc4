"""Region names that a person wrote, compared with the listed ones."""

from __future__ import annotations

from nexusd.core.records import Region
from nexusd.core.region_names import constraint_warnings, describe_unlisted, unlisted_regions
from nexusd.core.regions import NO_REGIONS, KnownRegion, RegionSnapshot

LISTED = RegionSnapshot(
    1.0,
    {
        "us-east-1": KnownRegion(Region("us-east-1", "Virginia", "healthy", 12.0, capacity=True)),
        "eu-west-2": KnownRegion(Region("eu-west-2", "London", "healthy", 45.0, capacity=True)),
        "old-1": KnownRegion(Region("old-1", "Old", "healthy", 45.0, capacity=True), left_at=0.5),
    },
)


def test_a_listed_region_is_no_warning() -> None:
    assert constraint_warnings(["us-east-1"], ["eu-west-2"], LISTED) == []


def test_an_unlisted_region_is_named_with_the_listed_ones() -> None:
    assert constraint_warnings(["mars"], [], LISTED) == [
        "regions: CloudNexus does not list region mars; it lists eu-west-2, us-east-1"
    ]


def test_a_typo_gets_a_suggestion() -> None:
    assert constraint_warnings(None, ["us-eats-1"], LISTED) == [
        "avoid_regions: CloudNexus does not list region us-eats-1; did you mean us-east-1?"
    ]


def test_a_region_that_left_the_list_is_unlisted() -> None:
    assert unlisted_regions(["old-1", "us-east-1", "old-1"], LISTED) == ["old-1"]


def test_before_regions_were_read_nothing_is_unlisted() -> None:
    assert constraint_warnings(["mars"], ["venus"], NO_REGIONS) == []


def test_many_names_are_cut() -> None:
    text = describe_unlisted([f"r{n}" for n in range(1000)], ["a"])
    assert (
        text
        == "CloudNexus does not list regions r0, r1, r2, r3, r4, r5, r6, r7, r8, r9 and 990 more; it lists a"
    )
