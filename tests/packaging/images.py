"""Builds the image from the Dockerfile with buildah, without a container engine, on a Debian folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.packaging.machines import REPOSITORY, cache, debian, run

IMAGE = "localhost/nexusd-test"
PIP_OPTIONS = ("cert", "index-url", "proxy", "trusted-host", "timeout")
"""What of this machine's pip configuration a build needs to reach the package index."""

ENVIRONMENT = {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}


@dataclass(frozen=True)
class Image:
    """A built image: its folder, mounted, and what it says about itself."""

    root: Path
    config: dict[str, Any]


@contextmanager
def built_image() -> Iterator[Image]:
    base = f"localhost/{debian().name}"
    if not buildah("images", "--quiet", "--filter", f"reference={base}").strip():
        container = buildah("from", "scratch").strip()
        buildah("add", "--quiet", container, f"{debian()}", "/", timeout_s=300.0)
        buildah("commit", "--quiet", "--rm", container, base, timeout_s=300.0)
    before = image_id()
    buildah(
        "build",
        "--layers",
        "--format=docker",
        *_reach_index(),
        f"--build-arg=BASE={base}",
        f"--tag={IMAGE}",
        str(REPOSITORY),
        timeout_s=900.0,
    )
    if before and before != image_id():
        buildah("rmi", before)
    container = buildah("from", IMAGE).strip()
    try:
        config = json.loads(buildah("inspect", "--type=image", IMAGE))["Docker"]["config"]
        yield Image(Path(buildah("mount", container).strip()), config)
    finally:
        buildah("rm", container)


def image_id() -> str:
    """Of the image of this tree as last built; empty before the first time."""
    return buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={IMAGE}").strip()


def buildah(*arguments: str, timeout_s: float = 120.0) -> str:
    """With storage of its own, so that whatever else is built on this machine is left alone."""
    storage: list[str | Path] = ["--root", cache() / "storage", "--runroot", cache() / "storage-run"]
    return run(["buildah", *storage, *arguments], timeout_s, ENVIRONMENT)


def _reach_index() -> list[str]:
    """Mounts that let pip inside the build reach the index the way pip does here."""
    options: dict[str, str] = {}
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2].removeprefix("default-")
        if key in PIP_OPTIONS:
            options[key] = value.strip("'\"")
    pip_conf = cache() / "pip.conf"
    pip_conf.write_text("\n".join(["[global]", *(f"{key} = {value}" for key, value in options.items()), ""]))
    mounts = [f"--volume={pip_conf}:/etc/pip.conf:ro"]
    certificates = Path(options["cert"]).parent if "cert" in options else Path("/etc/ssl/certs")
    if certificates.is_dir():
        mounts.append(f"--volume={certificates.resolve()}:{certificates}:ro")
    return mounts
