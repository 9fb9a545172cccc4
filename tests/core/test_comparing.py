"""What complete sweeps change: the two-sweep rule and the held-back mass disappearance."""

from __future__ import annotations

import pytest

from nexusd.core.changes import InstanceAppeared, InstanceStatusChanged, InstanceVanished
from nexusd.core.comparing import compare
from nexusd.core.sweeps import Delta, SweepPolicy
from tests.core.inventories import Watcher, fleet, instance, restarted, sweep

HUNDRED = range(100)


def test_the_first_sweep_changes_nothing_but_is_known() -> None:
    watcher = Watcher()
    assert watcher.see(fleet(1, 2)).changes == ()
    assert watcher.ids == {"1", "2"}


def test_an_empty_first_sweep_is_a_snapshot_too() -> None:
    watcher = Watcher()
    watcher.see([])
    assert watcher.see(fleet(1)).changes == (InstanceAppeared(instance(1)),)


def test_an_instance_that_is_new_in_a_later_sweep_appeared() -> None:
    watcher = Watcher()
    watcher.see(fleet(1))
    assert watcher.see(fleet(1, 2)).changes == (InstanceAppeared(instance(2)),)


def test_a_changed_status_is_told_with_what_was_before() -> None:
    watcher = Watcher()
    watcher.see([instance(1)])
    stopped = instance(1, status="stopped")
    assert watcher.see([stopped]).changes == (InstanceStatusChanged(instance(1), stopped),)


def test_the_same_sweep_again_changes_nothing() -> None:
    watcher = Watcher()
    watcher.see(fleet(1, 2))
    delta = watcher.see(fleet(1, 2))
    assert delta == Delta(delta.sweep)


def test_what_is_unchanged_keeps_its_record() -> None:
    watcher = Watcher()
    watcher.see(fleet(1))
    before = watcher.inventory.get("1")
    watcher.see(fleet(1))
    assert watcher.inventory.get("1") is before


def test_one_sweep_without_an_instance_keeps_it() -> None:
    watcher = Watcher()
    watcher.see(fleet(1, 2))
    delta = watcher.see(fleet(1))
    assert delta.changes == ()
    assert delta.missed == {"2": 1}
    assert "2" in watcher.inventory


def test_an_instance_that_one_sweep_missed_is_known_but_not_listed() -> None:
    watcher = Watcher()
    watcher.see(fleet(1, 2))
    watcher.see(fleet(1))
    assert watcher.inventory.listed("1")
    assert not watcher.inventory.listed("2")
    assert not watcher.inventory.listed("never")


def test_the_second_consecutive_sweep_without_it_makes_it_vanish() -> None:
    watcher = Watcher()
    watcher.see(fleet(1, 2))
    watcher.see(fleet(1))
    assert watcher.see(fleet(1)).changes == (InstanceVanished(instance(2)),)
    assert watcher.ids == {"1"}


def test_an_instance_that_flickers_never_vanishes() -> None:
    watcher = Watcher()
    watcher.see(fleet(1, 2))
    changes = [watcher.see(fleet(1, 2) if odd else fleet(1)).changes for odd in (0, 1, 0, 1, 0, 1)]
    assert changes == [()] * 6


def test_an_instance_that_is_back_is_no_longer_missed() -> None:
    watcher = Watcher()
    watcher.see(fleet(1, 2))
    watcher.see(fleet(1))
    assert watcher.see(fleet(1, 2)).returned == {"2"}
    assert not watcher.inventory.missed


def test_an_instance_seen_again_after_it_vanished_appeared() -> None:
    watcher = Watcher()
    for seen in ([1, 2], [1], [1]):
        watcher.see(fleet(*seen))
    assert watcher.see(fleet(1, 2)).changes == (InstanceAppeared(instance(2)),)


def test_the_vanished_are_told_as_they_were_last_seen_and_in_order() -> None:
    watcher = Watcher()
    watcher.see([instance(1), instance(3), instance(2)])
    watcher.see([instance(1), instance(3, status="stopped")])
    watcher.see([instance(1)])
    assert watcher.see([instance(1)]).changes == (InstanceVanished(instance(3, status="stopped")),)


def test_comparing_touches_nothing_so_a_failed_commit_is_found_again() -> None:
    watcher = Watcher()
    watcher.see(fleet(1, 2))
    seen = sweep(fleet(2, 3), 60.0)
    first = compare(watcher.inventory, seen, watcher.policy)
    assert compare(watcher.inventory, seen, watcher.policy) == first
    assert watcher.ids == {"1", "2"}


# a mass disappearance


def mass_watcher(count: int = 100) -> Watcher:
    watcher = Watcher()
    watcher.see(fleet(*range(count)))
    return watcher


def test_a_sweep_that_lacks_a_third_of_the_fleet_is_held_back() -> None:
    watcher = mass_watcher()
    delta = watcher.see(fleet(*range(31, 100)))
    assert delta.hold is not None
    assert (len(delta.hold.gone), delta.hold.of, delta.hold.sweeps) == (31, 100, 1)
    assert (delta.changes, delta.missed, delta.upserts, delta.vanished) == ((), {}, {}, frozenset())


@pytest.mark.parametrize(("known", "gone"), [(100, 30), (10, 10), (20, 10)])
def test_a_plausible_share_is_not_held_back(known: int, gone: int) -> None:
    assert mass_watcher(known).see(fleet(*range(gone, known))).hold is None


@pytest.mark.parametrize(("known", "gone"), [(100, 31), (11, 11), (36, 11)])
def test_an_implausible_share_is_held_back(known: int, gone: int) -> None:
    assert mass_watcher(known).see(fleet(*range(gone, known))).hold is not None


def test_an_api_that_answers_an_empty_list_twice_loses_nothing() -> None:
    watcher = mass_watcher()
    watcher.see([])
    watcher.see([])
    back = watcher.see(fleet(*HUNDRED))
    assert back.changes == ()
    assert watcher.inventory.hold is None
    assert not watcher.inventory.missed


def test_three_sweeps_that_agree_are_believed() -> None:
    watcher = mass_watcher()
    watcher.see([])
    watcher.see([])
    delta = watcher.see([])
    assert delta.hold is None
    assert len(delta.changes) == 100
    assert watcher.ids == set()


def test_only_what_all_three_sweeps_lack_vanishes() -> None:
    watcher = mass_watcher()
    watcher.see(fleet(*range(40, 100)))
    watcher.see(fleet(*range(50, 100)))
    delta = watcher.see(fleet(*range(60, 100)))
    assert delta.vanished == {str(n) for n in range(40)}
    assert delta.missed == {str(n): 1 for n in range(40, 60)}


def test_a_gone_set_that_shrinks_below_the_threshold_ends_the_hold_and_starts_to_count() -> None:
    watcher = mass_watcher()
    watcher.see(fleet(*range(40, 100)))
    watcher.see(fleet(*range(40, 100)))
    delta = watcher.see(fleet(*range(20, 100)))
    assert delta.hold is None
    assert delta.missed == {str(n): 1 for n in range(20)}
    assert len(watcher.see(fleet(*range(20, 100))).vanished) == 20


def test_sweeps_that_lack_different_instances_never_agree() -> None:
    watcher = mass_watcher()
    for turn in range(10):
        lacking = range(50) if turn % 2 else range(50, 100)
        delta = watcher.see(fleet(*(n for n in HUNDRED if n not in lacking)))
        assert delta.hold is not None
        assert delta.hold.sweeps == 1
    assert watcher.ids == {str(n) for n in HUNDRED}


def test_a_hold_tells_since_when_sweeps_are_held_back() -> None:
    watcher = mass_watcher()
    first = watcher.see([])
    watcher.see(fleet(*range(50)))
    second = watcher.see(fleet(*range(50, 100)))
    assert first.hold is not None
    assert second.hold is not None
    assert second.hold.since == first.hold.since == first.sweep.began_at


def test_a_sweep_held_back_proves_nothing_absent() -> None:
    watcher = mass_watcher()
    began_at, observed_at = watcher.inventory.began_at, watcher.inventory.observed_at
    watcher.see([])
    assert (watcher.inventory.began_at, watcher.inventory.observed_at) == (began_at, observed_at)
    assert watcher.inventory.hold is not None


def test_what_appears_while_sweeps_are_held_back_is_told_when_the_hold_ends() -> None:
    watcher = mass_watcher()
    new = instance("new")
    assert watcher.see([new]).changes == ()
    assert "new" not in watcher.inventory
    assert watcher.see([*fleet(*HUNDRED), new]).changes == (InstanceAppeared(new),)


def test_a_miss_before_a_hold_does_not_count_after_it() -> None:
    watcher = mass_watcher()
    watcher.see(fleet(*range(1, 100)))  # lacks 0
    watcher.see(fleet(*range(50)))  # held back, and has it
    delta = watcher.see(fleet(*range(1, 100)))  # lacks it again, not twice in a row
    assert delta.vanished == frozenset()
    assert delta.missed == {"0": 1}


def test_a_miss_before_the_mass_disappearance_hastens_nothing() -> None:
    watcher = mass_watcher()
    watcher.see(fleet(*range(25, 100)))
    delta = watcher.see(fleet(*range(40, 100)))
    assert delta.hold is not None
    assert len(watcher.inventory) == 100


def test_terminated_instances_may_leave_the_list_all_at_once() -> None:
    watcher = Watcher()
    ended = [instance(n, status="terminated") for n in range(50)]
    watcher.see([*ended, *fleet(*range(50, 100))])
    assert watcher.see(fleet(*range(50, 100))).hold is None
    assert len(watcher.see(fleet(*range(50, 100))).vanished) == 50


def test_terminated_instances_do_not_dilute_the_share() -> None:
    watcher = Watcher()
    ended = [instance(n, status="terminated") for n in range(100)]
    watcher.see([*ended, *fleet(*range(100, 130))])
    assert watcher.see([*ended, *fleet(*range(111, 130))]).hold is not None


# a restart


def test_a_restart_remembers_what_was_missed() -> None:
    watcher = Watcher()
    watcher.see(fleet(1, 2))
    watcher.see(fleet(1))
    assert restarted(watcher).see(fleet(1)).changes == (InstanceVanished(instance(2)),)


def test_the_first_sweep_after_a_restart_tells_what_changed_meanwhile() -> None:
    watcher = Watcher()
    watcher.see(fleet(1))
    assert restarted(watcher).see(fleet(1, 2)).changes == (InstanceAppeared(instance(2)),)


def test_a_mass_disappearance_is_held_back_after_a_restart_too() -> None:
    assert restarted(mass_watcher()).see([]).hold is not None


def test_a_restart_during_a_hold_begins_the_count_again() -> None:
    watcher = mass_watcher()
    watcher.see([])
    watcher.see([])
    after = restarted(watcher)
    assert [len(after.see([]).vanished) for _ in range(3)] == [0, 0, 100]


def test_a_policy_of_one_sweep_believes_at_once() -> None:
    watcher = Watcher(SweepPolicy(vanish_after_sweeps=1))
    watcher.see(fleet(1))
    assert watcher.see([]).changes == (InstanceVanished(instance(1)),)
