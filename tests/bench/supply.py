# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurements of what comes from the vendor; each gives the runs of some figures."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError

from ansible_collections.clms.update.plugins.module_utils import bundle as bundles
from ansible_collections.clms.update.plugins.module_utils.adapters.image_archive import save_image
from ansible_collections.clms.update.plugins.module_utils.adapters.vendor import fetch_package
from ansible_collections.clms.update.plugins.module_utils.fetcher import Fetcher
from ansible_collections.clms.update.plugins.module_utils.trust import TrustStore
from publisher import bundle as maker
from tests.base_images.docker_cli import docker
from tests.stand.stand import ROOT

from .measure import Runs
from .ours import Ours

_TIMES = 20
_URL = "https://vendor.test"
_BYTES = 2_500_000_000
"""of software, which becomes an archive of about 1 GB, as what is in any image does"""
_CHUNK = 1 << 20


def verification(ours: Ours) -> Runs:
    """How long it takes to verify a release and its package that were never seen before, without the network."""
    served = _Folder(ours.stand.vendor / "releases/repository")
    seconds = []
    for _ in range(_TIMES):
        with tempfile.TemporaryDirectory(dir=ours.home) as folder:
            store = TrustStore(
                state=Path(folder) / "trust", pinned_root=Path(ours.school.trust.root_file), url=_URL, fetcher=served
            )
            began = time.monotonic()
            fetch_package(store, store.release("1.0.1"), Path(folder))
            seconds.append(time.monotonic() - began)
    return {"verification_seconds": seconds}


class _Folder(Fetcher):
    """Fetches from a folder what a release server serves from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix(f"{_URL}/")
        if not path.is_file():
            raise DownloadHTTPError("it answered 404", 404)
        yield path.read_bytes()


def bundle(ours: Ours, runs: int, say: Callable[[str], None]) -> Runs:
    """A bundle of 1 GB, verified and loaded, by turns with `zstd -dc | docker load`; until all is on the disk."""
    found: Runs = {"bundle_ratio": [], "bundle_seconds": [], "by_hand_load_seconds": [], "bundle_memory_mb": []}
    with tempfile.TemporaryDirectory(dir=ours.home) as name, _image(Path(name)) as (image, archive):
        folder = Path(name)
        source, key = _bundle(folder, image, archive)
        say(f"the bundle has {source.stat().st_size / 1e9:.2f} GB")

        def ours_once() -> None:
            answer = _command(
                sys.executable, "-m", "tests.bench.take_bundle", source, folder / "taken", key
            )  # fmt: skip
            done = json.loads(answer)
            found["bundle_seconds"].append(done["seconds"])
            found["bundle_memory_mb"].append(done["memory_mb"])

        def by_hand_once() -> None:
            began = time.monotonic()
            _command("bash", "-o", "pipefail", "-c", f"zstd -q -dc '{archive}' | docker load --quiet && sync")
            found["by_hand_load_seconds"].append(time.monotonic() - began)

        for number in range(runs):
            for once in (ours_once, by_hand_once)[:: 1 if number % 2 == 0 else -1]:  # neither is always the first
                docker("image", "rm", "--force", image)
                os.sync()
                once()
            mine, hand = found["bundle_seconds"][-1], found["by_hand_load_seconds"][-1]
            found["bundle_ratio"].append(mine / hand)
            say(f"run {number + 1}: {mine:.2f} s / {hand:.2f} s = {mine / hand:.2f}")
    return found


@contextmanager
def _image(folder: Path) -> Iterator[tuple[str, Path]]:
    """An image of software, that of this machine: its id, and its archive."""
    context = folder / "context"
    context.mkdir()
    with (
        (context / "data").open("wb") as file,
        subprocess.Popen(
            ["tar", "--create", "--directory=/", "usr"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as tar,
    ):
        file.write(secrets.token_bytes(_CHUNK))  # so that no engine has it already
        while file.tell() < _BYTES and (content := tar.stdout.read(_CHUNK)):  # type: ignore[union-attr]
            file.write(content)
        tar.kill()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY data /data\n")
    image = docker("build", "--quiet", str(context)).strip()
    try:
        save_image(image, folder / "image.tar.zst")
        yield image, folder / "image.tar.zst"
    finally:
        docker("image", "rm", "--force", image)


def _bundle(folder: Path, image: str, archive: Path) -> tuple[Path, Path]:
    """A bundle with nothing but that image, and the file with the key that has signed it."""
    signer = CryptoSigner.generate_ed25519()
    key = folder / "key.json"
    key.write_text(json.dumps({"keyid": signer.public_key.keyid, **signer.public_key.to_dict()}))
    member = bundles.image_member(image)
    contents = {
        "format": 1, "product": "clms", "version": "1.0.0", "architecture": "amd64",
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "members": {member: maker._described(archive)},
    }  # fmt: skip
    path = folder / "bundle.zip"
    maker._write(path, {bundles.CONTENTS: json.dumps(contents).encode(), member: archive})
    maker._seal(path, (), signer)
    return path, key


def _command(*arguments: str | Path) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout
