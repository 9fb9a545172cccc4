"""A daemon's HTTP server as the contract describes it, small and real, for the client commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    queries: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Answer:
    """`drop`: close the connection without a word, after the request was read."""

    content: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    drop: bool = False


@dataclass
class FakeDaemon:
    """Answers by (method, path): an Answer, a list of them in turn (the last stays), or a function."""

    routes: dict[tuple[str, str], Any] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def on(self, method: str, path: str, *answers: Answer | Callable[[Request], Answer]) -> None:
        self.routes[method, path] = list(answers)

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        answers = self.routes.get((request.method, request.path))
        if not answers:
            return Answer({"error": {"code": "NOT_FOUND", "message": "no such path", "details": None}}, 404)
        chosen = answers.pop(0) if len(answers) > 1 else answers[0]
        found: Answer = chosen(request) if callable(chosen) else chosen
        return found

    def start(self) -> None:
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                parts = urlsplit(self.path)
                answer = daemon.answer(
                    Request(
                        self.command,
                        parts.path,
                        dict(parse_qsl(parts.query)),
                        dict(self.headers.items()),
                        json.loads(body) if body else None,
                        parse_qs(parts.query),
                    )
                )
                if answer.drop:
                    self.close_connection = True
                    return
                data = answer.raw if answer.raw is not None else json.dumps(answer.content).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - http.server calls these

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()


def considered(region: str, **more: Any) -> dict[str, Any]:
    eligible = not more.get("reasons")
    rank = 1 if eligible else None
    return {
        "region": region,
        "eligible": eligible,
        "rank": rank,
        "latency_ms": 12.0,
        "instances": 42,
        "reasons": [],
    } | more


def decision(region: str | None = "us-east-1", **more: Any) -> dict[str, Any]:
    return {
        "decided_at": "2030-01-31T12:00:00.000Z",
        "region": region,
        "reason": None if region else "no region is eligible",
        "policy": "lowest-latency",
        "observed_at": "2030-01-31T11:59:55.000Z",
        "data_age_s": 5.0,
        "considered": [
            considered("us-east-1", **({} if region else {"reasons": ["status is degraded"]})),
            considered("eu-west-2", latency_ms=45.0, reasons=["no capacity"]),
        ],
    } | more


def placement(state: str = "queued", **more: Any) -> dict[str, Any]:
    return {
        "id": "plc_01j00000000000000000000000",
        "name": "worker-01",
        "plan": "pro",
        "image": "ubuntu-22.04",
        "ssh_keys": [],
        "constraints": {"regions": None, "avoid_regions": [], "where": None, "spread": None},
        "priority": 0,
        "deadline": None,
        "fleet": None,
        "created_at": "2030-01-31T12:00:00.000Z",
        "updated_at": "2030-01-31T12:00:00.000Z",
        "state": state,
        "reason": None,
        "region": None if state == "queued" else "us-east-1",
        "instance_id": "inst_1" if state == "running" else None,
        "attempts": [],
        "decisions": [],
    } | more


def error(status: int, code: str, message: str, details: Any = None) -> Answer:
    return Answer({"error": {"code": code, "message": message, "details": details}}, status)


def page(rows: list[Any], **meta: int) -> dict[str, Any]:
    return {"data": rows, "meta": {"total": len(rows), "limit": 100, "offset": 0} | meta}
