"""Answers made of many alerts are made beside the event loop, so that whoever asks meanwhile is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

MOST_ON_LOOP = 64
"""Alerts that a request may look at on the event loop itself, which takes about 3 ms."""

T = TypeVar("T")
P = ParamSpec("P")


async def beside(size: int, step: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run a step that changes nothing and reads only what it is given, none of which is changed in place; on
    a thread when it looks at so many.
    """
    if size <= MOST_ON_LOOP:
        return step(*arguments, **named)
    return await asyncio.to_thread(step, *arguments, **named)
