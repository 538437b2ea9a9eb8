# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that are built here: on what, with which arguments, when not again, and what goes when they go."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests.exceptions

from ansible_collections.clms.update.plugins.module_utils.adapters import images
from ansible_collections.clms.update.plugins.module_utils.adapters.images import reference_of, to_get
from ansible_collections.clms.update.plugins.module_utils.build_plan import LABEL
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import clean_up, image_pull
from ansible_collections.clms.update.plugins.module_utils.pull_watch import PullWatch
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import parse_school
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, plan_slot

from .test_source import GOOD, package

BUILT = "sha256:" + "b" * 64
DIGEST = "sha256:" + "5" * 64
BASE = {"repository": "clms/frontend/base_image", "digest": DIGEST, "config": DIGEST, "layers": [DIGEST], "size": 70}
Begin = Callable[..., Context]


class Builder:
    """Pulls and builds of the fake engine."""

    def __init__(self, context: Context) -> None:
        self.engine: Any = context.engine
        self.context = context
        self.files: list[str] = []
        self.arguments: dict[str, str] = {}
        self.fails: Exception | None = None

    def pull(self, repository: str, digest: str, login: dict[str, str] | None, watch: PullWatch) -> None:
        layers = (DIGEST,) if digest == DIGEST else self.context.release.image("backend", "amd64").layers
        self.engine.images[f"{repository}@{digest}"] = {"RootFS": {"Layers": list(layers)}}

    def build(
        self, engine: Any, context: io.BytesIO, *, name: str, arguments: dict[str, str], label: tuple[str, str],
        record: Path,
    ) -> str:  # fmt: skip
        if self.fails:
            raise self.fails
        with tarfile.open(fileobj=context) as archive:
            self.files = archive.getnames()
        self.arguments = arguments
        image = {"Id": BUILT, "Config": {"Labels": dict([label])}, "RootFS": {"Layers": []}}
        self.engine.images |= {name: image, BUILT: image}
        return BUILT


@pytest.fixture
def context(
    begin: Begin,
    describe: Callable[..., dict[str, Any]],
    make_school_release: Callable[..., dict[str, Any]],
    old: Slot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Context:
    """A run whose frontend is built."""
    monkeypatch.setattr(image_pull, "prepare", lambda context: None)
    monkeypatch.setattr(image_pull, "sync_file_system", lambda path: None)
    zip_file = package(tmp_path / "package.zip", GOOD)
    described = describe(build_arguments={"api_url": "https://linden.test"})
    release = make_school_release()
    release["services"]["frontend"] = {
        "build": {
            "source": "source/web",
            "arguments": {"API": "${api_url}"},
            "bases": {"BASE_IMAGE": {"amd64": BASE}},
            "size": 1000,
        }
    }
    release["package"] |= {"sha256": hashlib.sha256(zip_file.read_bytes()).hexdigest()}
    slot = plan_slot(parse_school(described), parse_release(release), run=2, architecture="amd64", current=old)
    found = begin(phase="image_pull")
    found.run.row.school.clear()
    found.run.row.school.update(described)
    found.journal.set_slot(slot, "candidate")
    found.run.leave("preflight", slot=slot.as_dict())
    found.run.leave("release", package=str(zip_file), bundle=None)
    return found


@pytest.fixture
def builder(context: Context, engine: Any, monkeypatch: pytest.MonkeyPatch) -> Builder:
    builder = Builder(context)
    engine.pull = builder.pull
    monkeypatch.setattr(images, "build_image", builder.build)
    return builder


def test_built_on_the_signed_base(context: Context, builder: Builder) -> None:
    planned = context.new.services["frontend"].image
    base = f"{context.school.registry}/clms/frontend/base_image@{DIGEST}"
    answer = image_pull.work(context)
    assert answer["built"] == [planned]
    assert base in answer["pulled"]
    assert builder.arguments == {"API": "https://linden.test", "BASE_IMAGE": base}
    assert builder.files == ["Dockerfile", "app/run"]
    frontend = context.new.services["frontend"]
    assert (frontend.image, frontend.config) == (BUILT, BUILT)
    assert context.journal.slot_called("r2") == context.new
    assert {BUILT, base} <= set(answer["durable"])
    assert context.new.services["backend"].config != BUILT


def test_not_built_again(context: Context, builder: Builder, engine: Any) -> None:
    planned = context.new.services["frontend"].image
    engine.images[planned] = {"Id": BUILT, "Config": {"Labels": {LABEL: "another"}}}
    assert image_pull.work(context)["built"] == [planned]  # a name alone says nothing
    context.journal.set_slot(Slot.from_dict(context.run.result("preflight")["slot"]), "candidate")
    again = Context(context.journal, context.run, "image_pull")
    again.engine = engine
    answer = image_pull.work(again)
    assert answer["built"] == []
    assert planned in answer["present"]
    assert again.new.services["frontend"].image == BUILT


def test_what_a_power_cut_has_damaged_is_built_again(context: Context, builder: Builder, engine: Any) -> None:
    image_pull.work(context)
    context.journal.set_slot(Slot.from_dict(context.run.result("preflight")["slot"]), "candidate")
    again = Context(context.journal, context.run, "image_pull")
    again.engine = engine
    planned = again.new.services["frontend"].image
    engine.damaged = {BUILT}
    engine.remove_image = lambda name, force=False: [engine.images.pop(n, None) for n in (name, planned)]
    assert image_pull.work(again)["built"] == [planned]


def test_a_base_with_other_layers(context: Context, builder: Builder, engine: Any) -> None:
    base = reference_of(context.school, context.release.bases("frontend", "amd64")["BASE_IMAGE"])
    pull = builder.pull

    def swapped(repository: str, digest: str, login: dict[str, str] | None, watch: PullWatch) -> None:
        pull(repository, digest, login, watch)
        if digest == DIGEST:
            engine.images[base]["RootFS"]["Layers"] = ["sha256:other"]

    engine.pull = swapped
    with pytest.raises(ClmsError) as caught:
        image_pull.work(context)
    assert caught.value.code == "IMAGE_MISMATCH"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(docker.errors.APIError("RUN make failed"), "BUILD_FAILED", id="step"),
        pytest.param(docker.errors.APIError("write: no space left on device"), "DISK_TOO_SMALL", id="full"),
        pytest.param(OSError(28, "No space left on device"), "DISK_TOO_SMALL", id="full-here"),
        pytest.param(TimeoutError("it is not done"), "BUILD_FAILED", id="hangs"),
        pytest.param(requests.exceptions.ConnectionError("gone"), "ENGINE_UNREACHABLE", id="engine-gone"),
    ],
)
def test_what_goes_wrong(context: Context, builder: Builder, error: Exception, code: str) -> None:
    builder.fails = error
    with pytest.raises(ClmsError) as caught:
        image_pull.work(context)
    assert caught.value.code == code
    assert str(getattr(error, "explanation", None) or error)[:20] in caught.value.happened


def test_a_base_that_somebody_removes_is_got_again(
    context: Context, builder: Builder, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = reference_of(context.school, context.release.bases("frontend", "amd64")["BASE_IMAGE"])
    build, times = builder.build, [1]

    def tidied(*arguments: Any, **others: Any) -> str:
        if times.pop() == 1:
            times.append(others["arguments"]["BASE_IMAGE"] != base)
            del engine.images[base]
            raise docker.errors.APIError("no such image")
        return build(*arguments, **others)

    monkeypatch.setattr(images, "build_image", tidied)
    answer = image_pull.work(context)
    assert answer["pulled"].count(base) == 2
    assert len(answer["built"]) == 1


def test_a_package_that_was_changed_meanwhile(context: Context, builder: Builder, tmp_path: Path) -> None:
    package(tmp_path / "package.zip", {"source/web/x": b""})
    with pytest.raises(ClmsError) as caught:
        image_pull.work(context)
    assert caught.value.code == "BUILD_FAILED"


def test_the_space_that_it_takes(context: Context, builder: Builder, engine: Any) -> None:
    def needed() -> tuple[list[str], int]:
        images, bytes_ = to_get(engine, context.school, context.release, planned, "amd64")
        return [image.repository for image in images], bytes_

    planned = context.new
    assert needed() == (["clms/backend", "clms/frontend/base_image"], 1000)
    image_pull.work(context)
    assert needed() == ([], 0)


def test_the_base_goes_with_the_last_slot_that_was_built_on_it(context: Context, builder: Builder, engine: Any) -> None:
    base = reference_of(context.school, context.release.bases("frontend", "amd64")["BASE_IMAGE"])
    image_pull.work(context)
    clean_up._remove_images(context)
    assert {base, BUILT} <= set(engine.images)
    context.journal.set_slot(context.new, "freed")
    assert {base, BUILT} <= set(clean_up._remove_images(context))
    assert not {base, BUILT} & set(engine.images)
