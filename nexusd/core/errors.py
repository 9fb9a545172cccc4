"""The error tree, named by what the caller should do.

NexusdError
├── InputError            the user's to mend: 400 / exit 2; names the field
├── ConflictError         the thing exists, or is past the point: 409
├── NotFoundError         no such thing: 404
├── ConfigError           the configuration cannot be used: exit 2, or 400 on reload
├── StartError            the daemon cannot start here (busy port, unusable store): exit 1
├── StoreError            the store did not commit; nothing of the transaction is kept
│   ├── StoreUnavailableError   full, locked or away: 503, try again
│   │   └── StoreDeadlockError      rolled back to end a deadlock: try again immediately
│   ├── StoreBrokenError        damaged or failing storage: end the process
│   └── LeaseLostError          another replica leads: act no more
└── ApiError              CloudNexus gave no usable answer
    ├── UnauthorizedError       401 or 403: the key is wrong; do not retry
    ├── RefusedError            any other documented 4xx, with the provider's words
    ├── ThrottledError          429: wait `retry_after_s`
    ├── UnavailableError        refused connection, time-out, 5xx, open circuit: try later
    └── BadAnswerError          an answer that cannot be read, or pages that do not fit together
"""

from __future__ import annotations


class NexusdError(Exception):
    """Anything that nexusd raises on purpose. `str(error)` is one line fit for a user."""


class InputError(NexusdError):
    """A request that can never be accepted as it is.

    `field` is the offending key (`ssh_keys[0]`), or "" when the whole is meant.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ConflictError(NexusdError):
    """The name is taken, the key was used for another body, or the placement is past cancelling."""


class NotFoundError(NexusdError):
    """No such placement, receiver, …; the message names it."""


class ConfigError(NexusdError):
    """The configuration cannot be used. The message names file, line and key."""


class StartError(NexusdError):
    """The daemon cannot start on this machine as it is: a busy port, an unusable store."""


class StoreError(NexusdError):
    """The store did not commit; nothing of the transaction is kept."""


class StoreUnavailableError(StoreError):
    """Disk full, database locked or away: the same transaction may succeed later."""


class StoreDeadlockError(StoreUnavailableError):
    """The database rolled the transaction back to end a deadlock with another one."""


class StoreBrokenError(StoreError):
    """An I/O error, or a database found damaged while it runs: nothing more may be trusted to it, and what
    was under way may or may not be kept. End the process.
    """


class LeaseLostError(StoreError):
    """Another replica holds the lease: stop acting at once."""


class ApiError(NexusdError):
    """CloudNexus gave no usable answer. `reason` is a short, bounded label for metrics."""

    reason = "error"


class UnauthorizedError(ApiError):
    """401 or 403. Not retried; the key is read again when its file changes."""

    reason = "unauthorized"


class RefusedError(ApiError):
    """A 4xx with (or without) an ErrorResponse (reference: Schemas)."""

    reason = "refused"

    def __init__(self, status: int, code: str, message: str, details: str = "") -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class ThrottledError(ApiError):
    """429; `retry_after_s` is already clamped to 1–300 s."""

    reason = "throttled"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(ApiError):
    """Nothing usable came back: connection refused, time-out, 5xx, or the circuit is open.

    `reason` is one of `connect`, `timeout`, `reset`, `tls`, `dns`, `server_error`, `circuit_open`.
    """

    reason = "unavailable"

    def __init__(self, message: str, reason: str = "unavailable") -> None:
        super().__init__(message)
        self.reason = reason


class BadAnswerError(ApiError):
    """An answer that cannot be used: not JSON, too large, a record without a required field, a redirect,
    or pages that do not fit together.

    `reason` is one of `invalid`, `too_large`, `redirect`, `partial`.
    """

    reason = "invalid"

    def __init__(self, message: str, reason: str = "invalid") -> None:
        super().__init__(message)
        self.reason = reason
