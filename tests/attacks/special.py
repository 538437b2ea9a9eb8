# SPDX-License-Identifier: GPL-3.0-or-later
"""A good release whose images only the registry and a bundle have: a school really has to fetch them."""

from __future__ import annotations

import json
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.base_images.docker_cli import BuildError, build, docker
from tests.sample_clms import build as sample

from .bench import Bench
from .desk import Desk

VERSION = "1.0.9-special"


class Special:
    """The release, signed at a desk of its own, with its bundle."""

    def __init__(self, bench: Bench, *, base: str = "1.0.1", version: str = VERSION) -> None:
        """:param base: the release that it is, but for a layer more in each image"""
        self._bench = bench
        self.version = version
        self.desk: Desk = bench.desk()
        tags = {name: f"{bench.stand.prefix}-{name}:{version}" for name in ("backend", "frontend")}
        for name, tag in tags.items():
            self._build(tag, sample.tags(base)[name], version)
        definition = self.desk.folder / "definition.json"
        changes: dict[str, Any] = {"version": version, "sequence": 8000, "channel": "special", "minVersion": None}
        definition.write_text(json.dumps({**sample.release_definition(base), **changes, "images": tags}))
        self.tool("build", "--definition", definition)
        self.tool(
            "sign", version, "--registry", self.registry,
            "--registry-credentials", bench.stand.vendor / "registry-credentials.json",
            "--registry-ca", bench.tls / "ca.crt",
        )  # fmt: skip
        self.tool("bundle", version, "--to", self.desk.folder / "bundles")
        (self.bundle,) = (self.desk.folder / "bundles").glob("*.zip")
        self.desk = self.desk.reload()
        self.release = self.desk.release(version)
        self._tags = tags
        self.forget()
        bench.at_the_end(self.forget)

    @staticmethod
    def _build(tag: str, base: str, version: str) -> None:
        """The image of another release with one layer more, which nobody else has."""
        with tempfile.TemporaryDirectory(prefix="clms-special-") as folder:
            context = Path(folder)
            (context / "noise").write_bytes(secrets.token_bytes(200_000))
            (context / "Dockerfile").write_text(f"FROM {base}\nCOPY noise /noise\n")
            build(tag, context / "Dockerfile", context, {"org.opencontainers.image.version": version})

    def tool(self, *arguments: str | Path) -> None:
        """Run ``clms-release`` at this desk."""
        command, *rest = arguments
        self._bench.stand.command("clms-release", command, "--home", self.desk.vendor.home, *rest, "--json")

    @property
    def registry(self) -> str:
        """Host and port of the registry."""
        return str(self._bench.stand.settings["vendor"]["registry"])

    def image(self, service: str) -> dict[str, Any]:
        """What is signed of an image."""
        (image,) = self.release["services"][service]["images"].values()
        return dict(image)

    def forget(self) -> None:
        """The engine has the images no more."""
        names = list(self._tags.values())
        for service in self._tags:
            image = self.image(service)
            repository = f"{self.registry}/{image['repository']}"
            names += [f"{repository}:{self.version}", f"{repository}@{image['digest']}", image["config"]]
        for name in names:
            with suppress(BuildError):
                docker("image", "rm", "--force", name)

    def has_images(self, *services: str) -> bool:
        """Whether the engine has got one of them, or one of those that are named."""
        found = docker("image", "ls", "--all", "--no-trunc", "--format", "{{.ID}} {{.Digest}}")
        return any(self.image(name)[key] in found for name in services or self._tags for key in ("digest", "config"))
