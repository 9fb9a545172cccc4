"""Talks to a running daemon over HTTP, with the standard library alone: a client must start quickly."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import typer

from nexusd import __version__
from nexusd.core.errors import ConfigError, NexusdError
from nexusd.core.text import strip_secret

TIMEOUT_S = 30.0
PAGE = 100
MAX_BYTES = 256 << 20
NO_SUCH_PATH = "there is nothing at this path"
"""What a nexusd says of a path that it does not serve (`web/answers.py`)."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


class DaemonError(NexusdError):
    """The daemon gave no usable answer. `sent`: the request may have reached it."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class AnsweredError(NexusdError):
    """The daemon answered with an error; the message is its own (or the provider's) with the details."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class MisaskedError(AnsweredError, ConfigError):
    """What was asked makes no sense to the daemon (400): a wrong usage, found late."""


class Daemon:
    """One daemon. Every request has a connection of its own: commands make few, and waits may be long."""

    def __init__(self, url: str, token: str | None) -> None:
        """Raises typer's usage error for a URL or token that cannot be used."""
        try:
            parts = urlsplit(url)
            self._port = parts.port
            (parts.hostname or "").encode("idna")  # as it is looked up
        except ValueError:
            raise _misused(url) from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise _misused(url)
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise _misused(url)
        token = strip_secret(token) if token is not None else None
        if token is not None and not (token.isascii() and token.isprintable()):
            raise typer.BadParameter("the token holds characters that cannot be sent", param_hint="--token")
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._prefix = parts.path.rstrip("/")
        self._token = token

    def get(self, path: str, query: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
        """The decoded answer to a GET. Raises `DaemonError` or `AnsweredError`."""
        return self._object(self._json("GET", path + _query(query)), path)

    def rows(self, path: str) -> list[dict[str, Any]]:
        """The same for a list that is not in pages."""
        answer = self._json("GET", path)
        if not isinstance(answer, list):
            raise self._not_a_nexusd(f"no list at {path}")
        return listed(answer)

    def post(self, path: str, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """The same for a POST. With an idempotency key it is sent again once when its answer was lost."""
        headers = {"Idempotency-Key": key} if key else {}
        try:
            answer = self._json("POST", path, body, headers)
        except DaemonError as error:
            if key is None or not error.sent:
                raise
            answer = self._json("POST", path, body, headers)
        return self._object(answer, path)

    def delete(self, path: str) -> Any:
        return self._json("DELETE", path)

    def text(self, path: str) -> str:
        """The body of a GET as it is."""
        return self._exchange("GET", path, None, {"Accept": "text/plain"}).decode(errors="replace")

    def pages(self, path: str, query: Mapping[str, Any], limit: int) -> dict[str, Any]:
        """Up to `limit` rows (0: all) of a list, read page by page, in the shape of one page."""
        rows: list[Any] = []
        while True:
            size = min(PAGE, limit - len(rows)) if limit else PAGE
            answer = self.get(path, {**query, "limit": size, "offset": len(rows)})
            page, total = listed(answer), meta_total(answer)
            rows += page
            if not page or len(rows) >= total or (limit and len(rows) >= limit):
                extra = {k: v for k, v in answer.items() if k not in ("data", "meta")}
                return {"data": rows, "meta": {"total": total, "limit": limit or total, "offset": 0}, **extra}

    def lines(self, path: str, query: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[str]:
        """Yield the lines of a stream as they arrive, until it ends.

        Raises `DaemonError` or `AnsweredError`.

        The daemon sends a heartbeat every 4 s, so `TIMEOUT_S` ends only a connection that is dead.
        """
        connection = self._connection()
        try:
            connection.request("GET", self._prefix + path + _query(query), headers=self._sending(headers))
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise self._answered(path, response.status, response.read(MAX_BYTES))
            if response.headers.get_content_type() != headers["Accept"]:
                raise DaemonError(f"what answers at {self.url} does not stream {path}")
            while line := response.readline(MAX_BYTES):
                yield line.decode(errors="replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, sent=True) from error
        finally:
            connection.close()

    def _json(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] = NOTHING,
    ) -> Any:
        data = self._exchange(method, path, body, headers)
        try:
            return json.loads(data) if data else None
        except (ValueError, RecursionError):
            raise self._not_a_nexusd(f"no JSON at {path}") from None

    def _object(self, answer: Any, path: str) -> dict[str, Any]:
        if not isinstance(answer, dict):
            raise self._not_a_nexusd(f"no object at {path}")
        return answer

    def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> bytes:
        sending = self._sending(headers)
        if body is not None or method == "DELETE":
            sending["Content-Type"] = "application/json"
        connection = self._connection()
        sent = False
        try:
            connection.connect()
            sent = True
            payload = json.dumps(body).encode() if body is not None else None
            connection.request(method, self._prefix + path, payload, sending)
            response = connection.getresponse()
            data = response.read(MAX_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, sent=sent) from error
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise self._answered(path, response.status, data)
        return data

    def _sending(self, headers: Mapping[str, str]) -> dict[str, str]:
        sending = {"User-Agent": f"nexusd-cli/{__version__}", "Accept": "application/json", **headers}
        if self._token:
            sending["Authorization"] = f"Bearer {self._token}"
        return sending

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S)
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)

    def _unreachable(self, error: Exception, *, sent: bool) -> DaemonError:
        where = f"{self.url} (--url or $NEXUSD_URL says where)"
        if isinstance(error, ssl.SSLError):
            reason = getattr(error, "verify_message", "") or error.reason or "TLS failed"
            if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
                reason = "it does not speak TLS; is it http:// there?"
            return DaemonError(f"no trusted connection to {where}: {reason}")
        if isinstance(error, TimeoutError):
            return DaemonError(f"no answer within {TIMEOUT_S:.0f} s from {where}", sent=sent)
        if isinstance(error, ConnectionRefusedError):
            return DaemonError(f"no daemon runs at {where}: connection refused")
        if isinstance(error, socket.gaierror):
            return DaemonError(f"no such host: {where}")
        if isinstance(error, OSError) and not isinstance(error, http.client.HTTPException):
            return DaemonError(f"cannot talk to {where}: {error.strerror or error}", sent=sent)
        hint = "" if self._secure else "; is it https:// there?"
        return DaemonError(f"what answers at {where} does not speak HTTP as expected{hint}", sent=sent)

    def _answered(self, path: str, status: int, data: bytes) -> NexusdError:
        if 300 <= status < 400:
            return DaemonError(
                f"{self.url} redirects, which is not followed: give the URL that it redirects to"
            )
        try:
            answer = json.loads(data)
            if isinstance(answer, str):  # under /api/v2/ errors are as Alertmanager has them
                answer = {"error": {"code": "", "message": answer}}
            error = answer["error"]
            code, message, details = str(error["code"]), str(error["message"]), error.get("details")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return self._not_a_nexusd(f"status {status} without a reason")
        if status == 401:
            message += " (give --token or $NEXUSD_TOKEN)"
        if message == NO_SUCH_PATH:
            message = f"{self.url} has no {path}: not the daemon's URL, or its nexusd is of another version"
        kind = MisaskedError if status == 400 else AnsweredError
        return kind(status, code, _with_details(message, details))

    def _not_a_nexusd(self, why: str) -> DaemonError:
        return DaemonError(f"what answers at {self.url} is not a nexusd: {why}")


def may_pass(error: NexusdError) -> bool:
    """Whether the same request may be answered later: the daemon is away, or its store."""
    return not isinstance(error, AnsweredError) or error.status >= 500


def segment(text: str) -> str:
    """A value as one segment of a path. Raises typer's usage error for what is no text."""
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise _no_text(text) from None


def listed(answer: Any) -> list[dict[str, Any]]:
    """The rows of a list."""
    rows = answer.get("data") if isinstance(answer, dict) else answer
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def meta_total(answer: Any) -> int:
    """How many rows there are in all."""
    meta = answer.get("meta") if isinstance(answer, dict) else None
    total = meta.get("total") if isinstance(meta, dict) else None
    return total if isinstance(total, int) else len(listed(answer))


def part(answer: Any, key: str) -> dict[str, Any]:
    """What an answer has under a key; nothing where a daemon of another version has it otherwise."""
    found = answer.get(key) if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}


def _query(query: Mapping[str, Any]) -> str:
    given = {key: value for key, value in query.items() if value is not None}
    try:
        return f"?{urlencode(given, doseq=True)}" if given else ""
    except UnicodeEncodeError as error:
        raise _no_text(error.object) from None


def _with_details(message: str, details: Any) -> str:
    """The message on one line, and each detail after it that it does not say already."""
    from nexusd.cli.output import printable

    entries = details if isinstance(details, list) else [details] if details else []
    for entry in entries[:10]:
        said = _words(entry)
        repeated = isinstance(entry, dict) and str(entry.get("message") or said) in message
        if said and said not in message and not repeated:
            message += f"; {said}"
    return printable(message)


def _words(detail: Any) -> str:
    if isinstance(detail, dict):
        return ": ".join(str(value) for value in detail.values() if value not in (None, ""))
    return str(detail)


def _no_text(given: str) -> typer.BadParameter:
    """The shell gave bytes that are nothing in its encoding."""
    from nexusd.cli.output import printable

    return typer.BadParameter(f"{printable(given)!r} is not text")


def _misused(url: str) -> typer.BadParameter:
    from nexusd.cli.output import printable

    return typer.BadParameter(
        f"{printable(url)!r} is not a URL such as http://127.0.0.1:9650", param_hint="--url"
    )
