"""How long answers are kept to be replayed."""

from __future__ import annotations

import pytest

from nexusd.core.recordings import forget_before

DAY_S = 86_400.0


@pytest.mark.parametrize(("retention_s", "kept_s"), [(30 * DAY_S, 7 * DAY_S), (3600.0, 3600.0)])
def test_answers_are_kept_a_week_or_as_long_as_the_history_where_that_is_shorter(
    retention_s: float, kept_s: float
) -> None:
    assert forget_before(1e9, retention_s) == 1e9 - kept_s
