# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulling by digest: what is there already, what the engine's complaints mean, and what is tried again."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.images import find_signed
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import image_pull
from ansible_collections.clms.update.plugins.module_utils.phases.image_pull import explain_pull
from ansible_collections.clms.update.plugins.module_utils.pull_watch import PullWatch
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

REFERENCE = "registry.test:5000/clms/backend@sha256:1"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("unauthorized: authentication required", "REGISTRY_LOGIN", id="unauthorized"),
        pytest.param("Get https://r/v2/: no basic auth credentials: Unauthorized", "REGISTRY_LOGIN", id="upper-case"),
        pytest.param("pull access denied for clms/backend", "REGISTRY_LOGIN", id="denied"),
        pytest.param("manifest unknown: manifest unknown", "REGISTRY_DIGEST_MISSING", id="manifest-unknown"),
        pytest.param(
            "failed to resolve reference: r/x@sha256:1: not found", "REGISTRY_DIGEST_MISSING", id="containerd"
        ),
        pytest.param("filesystem layer verification failed for digest", "IMAGE_MISMATCH", id="layer"),
        pytest.param("manifest digest does not match the one asked for", "IMAGE_MISMATCH", id="manifest"),
        pytest.param(
            "failed commit on ref: unexpected commit digest sha256:2, expected sha256:1: failed precondition",
            "IMAGE_MISMATCH",
            id="containerd-digest",
        ),
        pytest.param("write /var/lib/docker/tmp/x: no space left on device", "DISK_TOO_SMALL", id="disk-full"),
        pytest.param("dial tcp 192.0.2.1:5000: connect: connection refused", "REGISTRY_UNREACHABLE", id="refused"),
        pytest.param("lookup registry.test: no such host", "REGISTRY_UNREACHABLE", id="no-such-host"),
        pytest.param("x509: certificate signed by unknown authority", "REGISTRY_UNREACHABLE", id="certificate"),
        pytest.param("context deadline exceeded", "REGISTRY_UNREACHABLE", id="timeout"),
        pytest.param("", "REGISTRY_UNREACHABLE", id="no-reason"),
    ],
)
def test_what_a_complaint_means(text: str, code: str) -> None:
    assert explain_pull(text, REFERENCE, "registry.test:5000").code == code


def test_a_long_complaint_is_cut() -> None:
    assert len(explain_pull("x" * 10_000, REFERENCE, "registry.test:5000").happened) < 400


@pytest.mark.parametrize(
    ("found", "present"),
    [
        pytest.param(None, False, id="not-there"),
        pytest.param("signed", True, id="signed-layers"),
        pytest.param(["sha256:" + "1" * 64], False, id="a-layer-less"),
        pytest.param([], False, id="no-layers"),
    ],
)
def test_an_image_counts_with_the_signed_layers_only(
    engine: Any, new: Slot, found: list[str] | str | None, present: bool
) -> None:
    signed = new.parsed_release().image("backend", "amd64")
    reference = new.services["backend"].image
    layers = list(signed.layers) if found == "signed" else found
    if layers is not None:
        engine.images[reference] = {"RootFS": {"Layers": layers}}
    assert find_signed(engine, reference, signed, unnamed=False) == (reference if present else None)


@pytest.mark.parametrize("layers", ["signed", "others"])
def test_an_image_that_was_loaded_goes_by_its_configuration(engine: Any, new: Slot, layers: str) -> None:
    signed = new.parsed_release().image("backend", "amd64")
    engine.images[signed.config] = {"RootFS": {"Layers": list(signed.layers) if layers == "signed" else []}}
    reference = new.services["backend"].image
    found = find_signed(engine, reference, signed, unnamed=True)
    assert found == (signed.config if layers == "signed" else None)
    assert find_signed(engine, reference, signed, unnamed=False) is None


class Registry:
    """Pulls of the fake engine, each of which first raises the next complaint."""

    def __init__(self, context: Context, *complaints: str) -> None:
        self.engine: Any = context.engine
        self.complaints = list(complaints)
        self.layers = {
            service.image: context.release.image(name, "amd64").layers
            for name, service in context.new.services.items()
            if name in context.release.images
        }
        self.logins: list[Any] = []
        self.watches: list[PullWatch] = []

    def pull(self, repository: str, digest: str, login: dict[str, str] | None, watch: PullWatch) -> None:
        self.logins.append(login)
        self.watches.append(watch)
        if self.complaints:
            raise docker.errors.APIError(self.complaints.pop(0))
        reference = f"{repository}@{digest}"
        self.engine.images[reference] = {"RootFS": {"Layers": list(self.layers[reference])}}


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Slots whose containers were made, so that their images are in use."""
    made: list[str] = []
    monkeypatch.setattr(image_pull, "prepare", lambda context: made.append(context.new.name))
    monkeypatch.setattr(image_pull, "sync_file_system", lambda path: made.append(f"sync {path.name}"))
    return made


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited between two attempts."""
    waited: list[float] = []
    monkeypatch.setattr(image_pull.time, "sleep", waited.append)
    return waited


def test_only_what_is_missing_is_pulled(begin: Callable[..., Context], engine: Any) -> None:
    context = begin(phase="image_pull")
    engine.pull = Registry(context).pull
    services = context.new.services
    assert image_pull.work(context) == {
        "pulled": [services["backend"].image, services["frontend"].image],
        "present": [services["mysql"].image, services["redis"].image],
        "loaded": {},
        "built": [],
        "durable": [service.image for service in services.values()],
    }
    assert image_pull.work(context)["pulled"] == []


@pytest.mark.parametrize("damaged", [False, True])
def test_what_a_power_cut_has_left_is_read_before_it_is_used(
    begin: Callable[..., Context], engine: Any, held: list[str], damaged: bool
) -> None:
    """The engine believes that it has an image of which it has written down only the name."""
    context = begin(phase="image_pull")
    backend = context.new.services["backend"].image
    registry = Registry(context)
    engine.pull = registry.pull
    engine.images[backend] = {"RootFS": {"Layers": list(registry.layers[backend])}}
    engine.damaged = {backend} if damaged else set()
    answer = image_pull.work(context)
    assert (backend in answer["pulled"]) is damaged
    assert ("read", backend) in engine.calls
    assert held[0].startswith("sync")  # before anything is made of it


def test_what_is_known_to_be_whole_is_not_read_again(begin: Callable[..., Context], engine: Any) -> None:
    context = begin(phase="image_pull")
    engine.pull = Registry(context).pull
    context.run.leave("image_pull", **image_pull.work(context))
    engine.calls.clear()
    image_pull.work(context)
    assert not [call for call in engine.calls if call[0] == "read"]


@pytest.mark.parametrize(("kind", "names"), [("update", ["r2"]), ("update_images", ["r2"]), ("install", [])])
def test_what_was_pulled_is_in_use(
    begin: Callable[..., Context], engine: Any, held: list[str], kind: str, names: list[str]
) -> None:
    context = begin("update" if kind == "install" else kind, phase="image_pull")
    engine.pull = Registry(context).pull
    context.run.use(kind=kind, phases=context.run.row.phases, version="1.0.1", from_version=None)
    image_pull.work(context)
    assert [name for name in held if not name.startswith("sync")] == names


def test_an_unreachable_registry_is_asked_again(begin: Callable[..., Context], engine: Any, waits: list[float]) -> None:
    context = begin(phase="image_pull")
    engine.pull = Registry(context, "connection refused", "timeout", "timeout").pull
    assert len(image_pull.work(context)["pulled"]) == 2
    assert waits == [2, 4, 8]


@pytest.mark.parametrize(
    ("complaints", "code", "attempts"),
    [
        pytest.param(["timeout"] * 9, "REGISTRY_UNREACHABLE", 4, id="given-up-after-four"),
        pytest.param(["denied"] * 9, "REGISTRY_LOGIN", 1, id="a-wrong-login-stays-wrong"),
        pytest.param(["manifest unknown"] * 9, "REGISTRY_DIGEST_MISSING", 1, id="what-is-missing-stays-missing"),
        pytest.param(["timeout", "denied"] * 9, "REGISTRY_LOGIN", 2, id="another-cause-later"),
    ],
)
def test_what_is_not_tried_again(
    begin: Callable[..., Context], engine: Any, waits: list[float], complaints: list[str], code: str, attempts: int
) -> None:
    context = begin(phase="image_pull")
    registry = Registry(context, *complaints)
    engine.pull = registry.pull
    with pytest.raises(ClmsError) as caught:
        image_pull.work(context)
    assert caught.value.code == code
    assert len(registry.logins) == attempts
    assert len(waits) == attempts - 1


def test_all_attempts_have_one_time_together(
    begin: Callable[..., Context], engine: Any, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = begin(phase="image_pull")
    registry = Registry(context, *["timeout"] * 9)
    engine.pull = registry.pull
    now = [0.0]
    monkeypatch.setattr(image_pull, "PullWatch", partial(PullWatch, clock=lambda: now[0]))
    monkeypatch.setattr(image_pull.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + 400))
    with pytest.raises(ClmsError) as caught:
        image_pull.work(context)
    assert caught.value.code == "PULL_TOO_SLOW"
    assert len(registry.logins) == 2
    assert len(set(registry.watches)) == 1


def test_an_image_with_other_layers_than_signed_is_not_used(begin: Callable[..., Context], engine: Any) -> None:
    context = begin(phase="image_pull")
    registry = Registry(context)
    registry.layers = dict.fromkeys(registry.layers, ("sha256:swapped",))
    engine.pull = registry.pull
    with pytest.raises(ClmsError) as caught:
        image_pull.work(context)
    assert caught.value.code == "IMAGE_MISMATCH"


def test_the_registry_gets_its_login_and_the_journal_does_not(
    begin: Callable[..., Context], engine: Any, describe: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    login = {"username": "linden", "password": "canary"}
    file = tmp_path / "registry.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(login))
    context = begin(phase="image_pull")
    context.run.row.school.update(describe(registry_credentials_file=str(file)))
    registry = Registry(context)
    engine.pull = registry.pull
    image_pull.work(context)
    assert registry.logins == [login, login]
    assert "canary" not in str(context.journal.records(context.run.id))
