"""The files that the page needs, served from memory under names that change with what is in them."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

from aiohttp import web

TYPES = {"nexusd.css": "text/css", "nexusd.js": "text/javascript", "nexusd.svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"
_CHECKED = "no-cache"


class Assets:
    def __init__(self) -> None:
        folder = files(__package__)
        self._content = {name: folder.joinpath(name).read_bytes() for name in TYPES}
        self._marks = {name: sha256(body).hexdigest()[:16] for name, body in self._content.items()}
        self.links = {name: f"static/{name}?v={mark}" for name, mark in self._marks.items()}

    async def file(self, request: web.Request) -> web.Response:
        """Cached for ever under the name that the page uses, since another content has another name."""
        name = request.match_info["name"]
        if name not in TYPES:
            raise web.HTTPNotFound
        mark = self._marks[name]
        caching = _FOR_EVER if request.query.get("v") == mark else _CHECKED
        headers = {"Cache-Control": caching, "ETag": f'"{mark}"'}
        if f'"{mark}"' in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(
            body=self._content[name], content_type=TYPES[name], charset="utf-8", headers=headers
        )
