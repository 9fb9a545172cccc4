"""nginx, Caddy and HAProxy with their configurations of docs/reverse-proxy.md."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.docs.pages import blocks
from tests.requirements import need_program

PAGE = "docs/reverse-proxy.md"
NAMES = ("nginx", "caddy", "haproxy")
HOST = "ops.example.com"

_LANGUAGES = {"nginx": "nginx", "caddy": "caddyfile", "haproxy": "haproxy"}
_NGINX = """daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
{site}
}}
"""
_CADDY = "{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}\n"
_WRAPPERS = {"nginx": _NGINX, "caddy": _CADDY, "haproxy": "{site}"}
DEFAULTS = {
    "nginx": "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{daemon}; }} }}",
    "caddy": "http://:{port} {{\n\treverse_proxy 127.0.0.1:{daemon} {{\n"
    "\t\theader_up Host localhost\n\t}}\n}}",
    "haproxy": "defaults\n mode http\n timeout connect 5s\n timeout client 9s\n timeout server 9s\n"
    "listen all\n bind 127.0.0.1:{port}\n option forwardfor\n http-request set-header Host localhost\n"
    " server nexusd 127.0.0.1:{daemon}\n",
}
"""The shortest configuration of each that makes its requests look local."""


def documented(name: str, folder: Path, port: int, daemon_port: int) -> str:
    """Return the documented configuration with the test's ports and certificate."""
    (text,) = [text for language, text in blocks(PAGE) if language == _LANGUAGES[name]]
    certificate, key = _certificate(folder)
    if name == "haproxy":
        certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    changes = {
        "/etc/ssl/ops.example.com.pem": str(certificate),
        "/etc/ssl/ops.example.com.key": str(key),
        "listen 443": f"listen 127.0.0.1:{port}",
        "bind :443": f"bind 127.0.0.1:{port}",
        "ops.example.com {": f"ops.example.com:{port} {{",
        "127.0.0.1:9650": f"127.0.0.1:{daemon_port}",
    }
    for before, after in changes.items():
        text = text.replace(before, after)
    return text


@asynccontextmanager
async def proxy(name: str, folder: Path, site: str, port: int) -> AsyncIterator[None]:
    """Run the proxy with this site until the block ends."""
    program = need_program(name)
    config, log = folder / f"{name}.conf", folder / f"{name}.log"
    config.write_text(_WRAPPERS[name].format(folder=folder, site=site))
    arguments = {
        "nginx": ["-p", str(folder), "-c", str(config)],
        "caddy": ["run", "--adapter", "caddyfile", "--config", str(config)],
        "haproxy": ["-db", "-f", str(config)],
    }[name]
    variables = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            program, *arguments, stdout=out, stderr=out, env=variables, cwd=folder
        )
    try:
        await _connectable(port, process, log)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 10.0)


async def _connectable(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(15.0):
        while True:
            assert process.returncode is None, log.read_text()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def _certificate(folder: Path) -> tuple[Path, Path]:
    files = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *(need_program("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", f"/CN={HOST}"),
            *("-addext", f"subjectAltName=DNS:{HOST}", "-out", str(files[0]), "-keyout", str(files[1])),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return files
