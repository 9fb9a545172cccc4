"""Writes log lines from a thread of its own, so that a log sink that blocks never blocks the daemon.

Used by `logs.py`. What does not fit in the queue is dropped and counted; the count is written as soon as the
sink takes lines again.
"""

from __future__ import annotations

import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

QUEUE_LINES = 10_000
BATCH_LINES = 256
RETRY_AFTER_S = 0.5

Sink = Callable[[bytes], None]
"""Takes all the bytes, however long that takes, or raises `OSError`."""


class LogWriter:
    """A bounded queue and the thread that empties it into the sink.

    `report` renders the line that says how many were dropped. The thread is a daemon thread: one that is
    stuck in the sink does not keep the process from ending.
    """

    def __init__(self, sink: Sink, report: Callable[[int], str], capacity: int = QUEUE_LINES) -> None:
        self.dropped = 0
        self._sink = sink
        self._report = report
        self._capacity = capacity
        self._lines: deque[str] = deque()
        self._unreported = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._empty_queue, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Queue one line (without its end), or drop it when the queue is full. Never waits for the sink."""
        with self._changed:
            if len(self._lines) >= self._capacity:
                self._drop(1)
                return
            self._lines.append(line)
            self._changed.notify()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is queued and stop; give up on a sink that takes longer."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._unreported += count

    def _empty_queue(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._unreported and not self._closing:
                    self._changed.wait()
                batch = [self._lines.popleft() for _ in range(min(BATCH_LINES, len(self._lines)))]
                unreported = self._unreported
                if not batch and self._closing and not unreported:
                    return
            self._write_batch(batch, unreported)

    def _write_batch(self, batch: list[str], unreported: int) -> None:
        """The lines, then the report of what was lost. What is lost here counts as dropped, too."""
        text = batch if not unreported else [*batch, self._report(unreported)]
        try:
            self._sink("".join(f"{line}\n" for line in text).encode("utf-8", "backslashreplace"))
        except OSError:
            with self._changed:
                self._drop(len(batch))
                if self._closing:  # nobody is left to tell
                    self._unreported = 0
                    return
            time.sleep(RETRY_AFTER_S)
            return
        with self._changed:
            self._unreported -= unreported


def sink_of(stream: TextIO) -> Sink:
    """The stream's descriptor, past its buffer, so that no lock of it is held while the sink blocks."""
    try:
        fd = stream.fileno()
    except io.UnsupportedOperation:  # a stream in memory
        return lambda data: _to_memory(stream, data)
    return lambda data: _write_all(fd, data)


def _to_memory(stream: TextIO, data: bytes) -> None:
    stream.write(data.decode("utf-8"))


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # a terminal or pipe that somebody else made non-blocking
            select.select([], [fd], [])
