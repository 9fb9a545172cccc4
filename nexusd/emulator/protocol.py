"""HTTP connections that answer what is not HTTP with an ErrorResponse too, and do not log it as a failure."""

from __future__ import annotations

from aiohttp import web

from nexusd.emulator.calls import error_body


class ErrorResponseProtocol(web.RequestHandler):
    """One connection."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that cannot be parsed; what the emulator itself gets wrong stays a logged 500."""
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        reason = " ".join((message or "").split())[:200] or "the request is not HTTP"
        body = error_body("BAD_REQUEST", reason)
        response = web.Response(status=status, body=body, headers={"Content-Type": "application/json"})
        response.force_close()
        return response


class ErrorResponseServer(web.Server):
    """Makes such connections."""

    def __call__(self) -> ErrorResponseProtocol:
        return ErrorResponseProtocol(self, loop=self._loop, **self._kwargs)
