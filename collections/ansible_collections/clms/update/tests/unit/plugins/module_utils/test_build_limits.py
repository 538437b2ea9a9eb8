# SPDX-License-Identifier: GPL-3.0-or-later
"""One build in the engine: how it ends, and what it has removed then."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests.exceptions
import urllib3.exceptions

from ansible_collections.clms.update.plugins.module_utils.adapters.image_build import build_image, remove_left

BASE, ONE, TWO, LAST, OTHER = (f"sha256:{digit * 64}" for digit in "a123b")
RUNNING = "c" * 12
Says = Callable[[], Iterator[dict[str, str]]]


def image(identity: str, parent: str = "", *names: str) -> dict[str, Any]:
    return {"Id": identity, "ParentId": parent, "RepoTags": list(names) or ["<none>:<none>"], "RepoDigests": None}


def made(identity: str) -> dict[str, str]:
    return {"stream": f" ---> {identity.removeprefix('sha256:')[:12]}\n"}


class Engine:
    """Builds as it is told, and remembers what was removed."""

    def __init__(self, says: Says) -> None:
        self.says = says
        self.api = self
        self.listed = [image(BASE), image(ONE, BASE), image(TWO, ONE), image(OTHER, BASE)]
        self.removed: list[str] = []
        self.in_use: dict[str, str] = {}
        """container -> image"""
        self.timeout = 0.0

    def build(self, *, timeout: float, **options: Any) -> Iterator[dict[str, str]]:
        assert (options["network_mode"], options["nocache"]) == ("none", True)
        self.timeout = timeout
        return self.says()

    def images(self, *, all: bool) -> list[dict[str, Any]]:
        return self.listed

    def inspect_image(self, name: str) -> dict[str, str]:
        return {"Id": LAST}

    def containers(self, *, all: bool) -> list[dict[str, str]]:
        return [{"Id": container, "ImageID": image} for container, image in self.in_use.items()]

    def remove_image(self, name: str, *, noprune: bool) -> None:
        if name in self.in_use.values():
            raise docker.errors.APIError("409", explanation="image is being used by running container")
        self.removed.append(name)

    def remove(self, name: str) -> None:
        self.removed.append(name)
        self.in_use.pop(name, None)

    def state(self, name: str) -> None:
        return None


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "build"


def start(engine: Any, record: Path, seconds: float = 600) -> str:
    return build_image(engine, io.BytesIO(), name="n:1", arguments={}, label=("l", "1"), record=record, seconds=seconds)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(urllib3.exceptions.ProtocolError("broken"), requests.exceptions.ConnectionError, id="engine-dies"),
        pytest.param(
            urllib3.exceptions.ReadTimeoutError(None, "", "silent"),  # type: ignore[arg-type]
            requests.exceptions.ConnectionError,
            id="engine-is-silent",
        ),
        pytest.param(
            docker.errors.StreamParseError(ValueError("half")), requests.exceptions.ConnectionError, id="half"
        ),
        pytest.param(KeyboardInterrupt(), KeyboardInterrupt, id="stopped"),
    ],
)
def test_nothing_is_left_however_it_ends(record: Path, error: BaseException, kind: type[BaseException]) -> None:
    def says() -> Iterator[dict[str, str]]:
        yield from (made(BASE), made(ONE))
        yield {"stream": f" ---> Running in {RUNNING}\n"}
        assert record.read_text() == f"image {'a' * 12}\nimage {'1' * 12}\ncontainer {RUNNING}\n"
        raise error

    engine = Engine(says)
    with pytest.raises(kind):
        start(engine, record)
    # the last step's image was made without a word of it; that of somebody else stays, and so does the base
    assert engine.removed[-2:] == [TWO, ONE]
    assert set(engine.removed) == {RUNNING, ONE, TWO}
    assert not record.exists()


def test_the_engine_may_say_nothing_for_longer_than_a_build_may_take(record: Path) -> None:
    engine = Engine(lambda: iter([made(ONE)]))
    assert start(engine, record, 700) == LAST
    assert engine.timeout > 700


def test_a_step_that_begins_when_the_time_is_over(record: Path) -> None:
    def says() -> Iterator[dict[str, str]]:
        yield made(ONE)
        time.sleep(0.3)
        yield {"stream": f" ---> Running in {RUNNING}\n"}
        assert RUNNING in engine.removed
        yield {"error": "No such container"}

    engine = Engine(says)
    with pytest.raises(TimeoutError, match="not done after"):
        start(engine, record, 0.1)


def test_an_image_with_a_name_stays(record: Path) -> None:
    engine = Engine(lambda: iter(()))
    engine.listed = [image(BASE, "", "base:1"), image(ONE, BASE), image(TWO, ONE, "n:1")]
    record.write_text(f"image {'a' * 12}\nimage {'2' * 12}\nhalf")
    remove_left(engine, record)  # type: ignore[arg-type]
    assert (engine.removed, record.exists()) == ([], False)


def test_a_container_that_was_not_heard_of(record: Path) -> None:
    engine = Engine(lambda: iter(()))
    engine.in_use = {RUNNING: TWO, "of somebody else": OTHER}
    record.write_text(f"image {'1' * 12}\n")
    remove_left(engine, record)  # type: ignore[arg-type]
    assert engine.removed == [RUNNING, TWO, ONE]


def test_a_container_that_is_just_being_ended(record: Path) -> None:
    engine = Engine(lambda: iter(()))
    engine.in_use = {RUNNING: TWO}
    engine.remove = lambda name: None  # type: ignore[method-assign]
    record.write_text(f"image {'1' * 12}\n")
    remove_left(engine, record)  # type: ignore[arg-type]
    assert record.exists()  # the next one tries again


def test_an_engine_that_does_not_answer_is_asked_again_later(record: Path) -> None:
    def gone(name: str) -> None:
        raise requests.exceptions.ConnectionError

    engine = Engine(lambda: iter(()))
    engine.remove = gone  # type: ignore[method-assign]
    record.write_text(f"container {RUNNING}\n")
    remove_left(engine, record)  # type: ignore[arg-type]
    assert record.exists()
