"""Errors that mean a lack of memory or threads, and no defect."""

from __future__ import annotations

_MEMORY = "raise the limit (systemd: MemoryMax=; shell: ulimit -v), or free memory"
_OUT_OF_MEMORY = f"out of memory: {_MEMORY}"
_THREADS = (
    "raise the limits of tasks and memory (systemd: TasksMax=, LimitNPROC=; shell: ulimit -u, ulimit -v)"
)
_LOADER = ("failed to map segment", "cannot allocate memory", "Cannot allocate memory")
"""What the dynamic loader reports when a library does not fit."""


def describe_shortage(error: BaseException) -> str | None:
    """Return the shortage and its remedy; None for any other error."""
    if isinstance(error, BaseExceptionGroup):
        found = (describe_shortage(each) for each in error.exceptions)
        return next((text for text in found if text is not None), None)
    if isinstance(error, MemoryError):
        return _OUT_OF_MEMORY  # made before, when there was memory
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return f"cannot start a thread: {_THREADS}"
    if isinstance(error, ImportError) and any(text in str(error) for text in _LOADER):
        return f"out of memory while loading {error.name or 'a library'}: {_MEMORY}"
    return None
