"""MATCHER arguments of `alerts` and `silence add`, as amtool reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import typer

from nexusd.cli.output import printable
from nexusd.core.errors import InputError
from nexusd.core.matchers import Matcher, matcher, parse_matchers

_OPERATOR_OR_LIST = re.compile(r"[={]|!~")


def parse_arguments(texts: Sequence[str]) -> list[Matcher]:
    """Return the matchers; a first word without an operator is an alert's name.

    Raises typer's usage error.
    """
    found: list[Matcher] = []
    try:
        for number, text in enumerate(texts):
            bare = number == 0 and not _OPERATOR_OR_LIST.search(text)
            found += [matcher("alertname", "=", text)] if bare else parse_matchers(text)
    except InputError as error:
        raise typer.BadParameter(printable(str(error)), param_hint="MATCHER") from None
    return found
