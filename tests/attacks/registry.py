# SPDX-License-Identifier: GPL-3.0-or-later
"""The image registry in the wrong hands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .bench import Bench
from .cases import REFUSED, Case, Result
from .desk import flip, shorten
from .special import VERSION, Special


def storage(bench: Bench) -> Path:
    """Where the registry keeps what was pushed."""
    folder = bench.engine.volume_path(f"{bench.stand.prefix}-vendor-registry")
    assert folder is not None
    return Path(folder) / "docker/registry/v2"


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file that may be spoilt, and is whole again afterwards."""
    kept = path.with_name(f"{path.name}.kept")
    shutil.copy2(path, kept)
    try:
        yield path
    finally:
        kept.rename(path)


def blob(bench: Bench, digest: str) -> Path:
    """The file with a blob."""
    name = digest.removeprefix("sha256:")
    return storage(bench) / "blobs/sha256" / name[:2] / name / "data"


def swapped_tag(bench: Bench, result: Result) -> str:
    """The tags of a release are those of another one; what was signed is fetched and installed all the same."""
    base, (running,) = bench.next_version(), bench.school.versions()
    special = Special(bench, base=base, version="8.0.0-special")
    for service in special.release["services"]:
        image = special.image(service)
        (other,) = special.desk.release(running)["services"][service]["images"].values()
        tag = storage(bench) / f"repositories/{image['repository']}/_manifests/tags/{special.version}/current/link"
        assert tag.read_text() == image["digest"]
        tag.write_text(other["digest"])  # nobody else asks for this tag
    with bench.serving(special.desk.publish()):
        bench.updates_to(special.version, result)
    with bench.school.journal() as journal:
        pulled = journal.run(bench.school.last_run()["id"]).result("image_pull")["pulled"]
    assert sorted(name.rpartition("@")[2] for name in pulled) == sorted(
        special.image(service)["digest"] for service in special.release["services"]
    )
    done = bench.school.clms_update("rollback", "--confirm", running, "--json")
    assert done.code == 0, done.output
    return f"{special.version}, as signed"


def pulled(bench: Bench) -> None:
    """The counterpart: the registry is there, and the engine gets from it what was pushed, by its digest."""
    special = bench.special
    login = json.loads(Path(bench.school.description()["clms_registry_credentials_file"]).read_text())
    special.forget()
    for service in special.release["services"]:
        image = special.image(service)
        name = f"{special.registry}/{image['repository']}"
        bench.engine.client.images.pull(name, tag=image["digest"], auth_config=login)
    assert special.has_images()
    special.forget()
    assert not special.has_images()


def spoilt_layer(spoil: Callable[[Path], None], code: str, says: str, bench: Bench, _: Result) -> str:
    """A layer in the registry's storage is not what was pushed."""
    special = bench.special
    pulled(bench)
    manifest = json.loads(blob(bench, special.image("backend")["digest"]).read_bytes())
    with (
        replaced(blob(bench, manifest["layers"][-1]["digest"])) as path,
        bench.serving(special.desk.publish()),
    ):
        spoil(path)
        bench.refused(code, "update", "--version", VERSION, says=says, moves="signed")
        assert not special.has_images("backend"), "the engine has an image with that layer"
    pulled(bench)
    return REFUSED


def spoilt_manifest(bench: Bench, _: Result) -> str:
    """What the registry sends for a digest is another manifest."""
    special = bench.special
    pulled(bench)
    mine, other = (blob(bench, special.image(name)["digest"]) for name in ("backend", "frontend"))
    with replaced(mine) as path, bench.serving(special.desk.publish()):
        path.write_bytes(other.read_bytes())
        bench.refused("IMAGE_MISMATCH", "update", "--version", VERSION, moves="signed")
        assert not special.has_images("backend"), "the engine has the other image in its place"
    pulled(bench)
    return REFUSED


def cases() -> Iterator[Case]:
    """All of them."""
    for name, injected, spoil, code, says in (
        ("tampered layer", "One bit of a layer in the registry's storage turned over.", flip, "IMAGE_MISMATCH", ""),
        ("truncated layer", "The end of a layer is missing.", partial(shorten, by=1000), "IMAGE_MISMATCH", ""),
        ("foreign layer", "A layer has another content.", lambda path: path.write_bytes(b"no layer at all"),
         "IMAGE_MISMATCH", ""),
    ):  # fmt: skip
        yield Case(f"registry: {name}", injected, partial(spoilt_layer, spoil, code, says), slow=True)
    yield Case("registry: another manifest", spoilt_manifest.__doc__ or "", spoilt_manifest, slow=True)
    yield Case("registry: swapped tag", swapped_tag.__doc__ or "", swapped_tag, slow=True, last=True)
