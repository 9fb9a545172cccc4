"""Long steps run beside the event loop, so that whoever asks meanwhile is answered (performance.md, G9).

Used by `cycle`, `cloud`, `delivery` and `web`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Beside:
    """Runs steps of one kind: short ones on the event loop itself, long ones on a thread.

    A step changes nothing, and nobody changes what it reads until it is done. Nothing becomes quicker by it:
    threads take turns with the loop.
    """

    most_on_loop: int
    """What a step of this kind may look at on the loop, in records or bytes: what takes a few ms."""

    async def __call__(self, size: int, step: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """`size`: how much the step looks at, in the same unit. Raises what the step raised."""
        if size <= self.most_on_loop:
            return step(*arguments, **named)
        return await asyncio.to_thread(step, *arguments, **named)
