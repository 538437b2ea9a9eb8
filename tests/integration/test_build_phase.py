# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `image_pull` of a release with source, with a real engine and a real registry."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters import image_build, images
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.phases import clean_up, image_pull
from ansible_collections.clms.update.plugins.module_utils.run import do_phase
from tests.integration.build_release import ADDRESS, Base, Desk, pushed
from tests.integration.build_stage import LABEL, SHELL_IMAGE, Bench, context, small_engine
from tests.integration.conftest import RunningRegistry, archive

STEPS = ("ARG API", "ENV API=${API}", "COPY page /page")
FILES = {"page": b"<p>"}


@pytest.fixture
def desk(tmp_path: Path, engine: docker.DockerClient, make_image: Callable[..., str]) -> Iterator[Desk]:
    with closing(Journal(tmp_path / "home", create=True)) as journal:
        yield Desk(tmp_path, journal, str(engine.images.get(make_image("database", secrets.token_hex(8))).id))


@pytest.fixture
def base(engine: docker.DockerClient, registry: RunningRegistry, prefix: str) -> Iterator[Base]:
    """An image that only the registry has."""
    content = archive({"content": secrets.token_bytes(8)}).getvalue()
    engine.api.import_image_from_data(content, repository=f"{prefix}-base", tag="1")
    base = pushed(engine, registry, f"{prefix}/base", f"{prefix}-base:1")
    yield base
    _forget(engine, base)


@pytest.fixture
def shell(engine: docker.DockerClient, registry: RunningRegistry, prefix: str) -> Iterator[Base]:
    """One with a shell."""
    name = f"{prefix}-shell:1"
    engine.images.build(fileobj=context(f"LABEL {LABEL}.base={secrets.token_hex(8)}"), custom_context=True, tag=name,
                        buildargs={"BASE_IMAGE": SHELL_IMAGE}, rm=True)  # fmt: skip
    base = pushed(engine, registry, f"{prefix}/shell", name)
    yield base
    _forget(engine, base)


def bench_of(engine: docker.DockerClient, base: Base, desk: Desk) -> Bench:
    return Bench(engine, base.described["config"], desk.folder / "home/build")


def _forget(engine: docker.DockerClient, base: Base) -> None:
    Bench(engine, base.described["config"], Path("none")).remove()
    for name in (base.reference, base.described["config"]):
        with suppress(docker.errors.ImageNotFound):
            engine.images.remove(name, force=True)


def work(desk: Desk, run: int) -> dict[str, Any]:
    return do_phase(desk.folder / "home", run, "image_pull", image_pull.work)


def refused(desk: Desk, run: int) -> ClmsError:
    """The phase fails, and says what happened and what to do."""
    with pytest.raises(ClmsError) as caught:
        work(desk, run)
    failure = desk.journal.run(run).failure()
    assert failure is not None
    assert failure["code"] == caught.value.code
    assert caught.value.happened.endswith(".")
    assert caught.value.remedy.endswith(".")
    return caught.value


def test_built_on_a_base_from_the_registry(
    desk: Desk, base: Base, registry: RunningRegistry, engine: docker.DockerClient
) -> None:
    opened = desk.open(base, *STEPS, registry=registry, files=FILES)
    planned = opened.new.services["frontend"].image
    answer = work(desk, opened.run.id)
    assert (answer["pulled"], answer["built"]) == ([base.reference], [planned])
    built = engine.images.get(answer["loaded"]["frontend"])
    assert f"API={ADDRESS}" in built.attrs["Config"]["Env"]
    assert built.attrs["RootFS"]["Layers"][:-1] == base.described["layers"]
    bench_of(engine, base, desk).assert_nothing_left()
    opened.run.close("ABORTED")
    again = desk.open(base, *STEPS, registry=registry, files=FILES)
    answer = work(desk, again.run.id)
    assert (answer["pulled"], answer["built"], answer["loaded"]["frontend"]) == ([], [], built.id)


@pytest.mark.parametrize("source", ["the registry", "a bundle"])
def test_the_base_is_removed_before_the_build(
    desk: Desk, base: Base, registry: RunningRegistry, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:  # fmt: skip
    """As by `docker image prune --all`: it is got again, and not by the engine on its own."""
    removed: list[str] = []
    saved = desk.folder / "base.tar"
    engine.images.pull(base.reference, auth_config=registry.login())
    saved.write_bytes(b"".join(engine.images.get(base.reference).save()))
    engine.images.remove(base.reference, force=True)

    def build(*arguments: Any, bases: dict[str, str], **others: Any) -> str:
        if not removed:
            removed.extend(bases.values())
            engine.images.remove(bases["BASE_IMAGE"], force=True)
        return images.build(*arguments, bases=bases, **others)

    monkeypatch.setattr(image_pull, "build", build)
    monkeypatch.setattr(image_pull, "load", lambda bundle, config, most: engine.images.load(bundle.read_bytes()))
    opened = desk.open(base, *STEPS, registry=registry, files=FILES, bundle=saved if source == "a bundle" else None)
    answer = work(desk, opened.run.id)
    assert removed == [base.reference if source == "the registry" else base.described["config"]]
    assert len(answer["built"]) == 1
    assert [record.names["images"] for record in desk.journal.records(opened.run.id) if record.step == "base_gone"] == [
        removed
    ]
    bench_of(engine, base, desk).assert_nothing_left()


def test_a_base_that_goes_again_and_again(
    desk: Desk, base: Base, registry: RunningRegistry, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*arguments: Any, bases: dict[str, str], **others: Any) -> str:
        engine.images.remove(bases["BASE_IMAGE"], force=True)
        return images.build(*arguments, bases=bases, **others)

    monkeypatch.setattr(image_pull, "build", build)
    error = refused(desk, desk.open(base, *STEPS, registry=registry, files=FILES).run.id)
    assert error.code == "BUILD_FAILED"
    assert f"{base.reference} was removed" in error.happened


def test_a_build_that_hangs(
    desk: Desk, shell: Base, registry: RunningRegistry, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "build_image", partial(image_build.build_image, seconds=3))
    error = refused(desk, desk.open(shell, "RUN exec sleep 100000", registry=registry).run.id)
    assert error.code == "BUILD_FAILED"
    assert "not done after" in error.happened
    bench_of(engine, shell, desk).assert_nothing_left()


def test_what_a_killed_build_has_left_goes_with_the_next_clean_up(
    desk: Desk, base: Base, registry: RunningRegistry, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = desk.open(base, "ENV ONE=1", "COPY nothing /", registry=registry)
    with monkeypatch.context() as killed:
        killed.setattr(image_build, "remove_left", lambda engine, record: None)
        assert refused(desk, opened.run.id).code == "BUILD_FAILED"
    bench = bench_of(engine, base, desk)
    assert len(bench.images()) == 1 + len(["ENV ONE=1"])
    clean_up.tidy(opened)
    assert bench.images() == {bench.base}
    bench.assert_nothing_left()


def test_a_full_disk(desk: Desk, prefix: str) -> None:
    with small_engine(48) as small:
        client = small.client
        for tag in ("base", "database"):
            client.api.import_image_from_data(archive({tag: b"1"}).getvalue(), repository=prefix, tag=tag)
        found = client.images.get(f"{prefix}:base")
        digest = f"sha256:{secrets.token_hex(32)}"
        base = Base({"repository": "base", "digest": digest, "config": found.id, "size": 1000,
                     "layers": found.attrs["RootFS"]["Layers"]}, digest)  # fmt: skip
        desk.database = str(client.images.get(f"{prefix}:database").id)
        opened = desk.open(
            base, "COPY large /", "COPY large /again", files={"large": os.urandom(20 << 20)}, bundle=Path("/none")
        )
        error = refused(desk, opened.run.id)
        assert error.code == "DISK_TOO_SMALL"
        assert "no space left on device" in error.happened
        assert {str(image.id) for image in client.images.list(all=True)} == {found.id, desk.database}
        bench_of(client, base, desk).assert_nothing_left()
