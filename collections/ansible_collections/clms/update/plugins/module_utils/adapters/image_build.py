# SPDX-License-Identifier: GPL-3.0-or-later
"""One build in the engine: for how long it may take, and that nothing is left of it but the image."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

try:
    import docker.errors
    import requests.exceptions
    import urllib3.exceptions
except ImportError:
    pass  # the module says so before it comes here

from .engine import Engine, wait_until

BUILD_SECONDS = 3600.0
"""after which a build counts as hanging"""
_ENGINE_SECONDS = 300
"""for which the engine may say nothing after that"""
_REMOVE_SECONDS = 30
"""for which the engine may take to end a container"""
_TRIES = 3
_NO_NAMES = {"<none>:<none>", "<none>@<none>"}
"""in place of the names of an image that has none"""
_WORDS = 5
"""of what a build has said last that go with a complaint"""
_MADE = re.compile(r" ---> (Running in )?([0-9a-f]{12,64})\n?")
"""what a build says of a step's container; or of the image that a step has made, or that it begins with"""


def build_image(
    engine: Engine,
    context: IO[bytes],
    *,
    name: str,
    arguments: dict[str, str],
    label: tuple[str, str],
    record: Path,
    seconds: float = BUILD_SECONDS,
) -> str:
    """Build an image without any network, on images that are here.

    :param context: a tar archive with a ``Dockerfile``
    :param name: of the image, with its tag
    :param record: file for what :func:`remove_left` has to know where this process is killed; no other build's
    :param seconds: how long it may take
    :returns: the id of the image
    :raises docker.errors.APIError: when the engine refuses, or a step of the Dockerfile fails
    :raises requests.exceptions.RequestException: when the engine goes away, or says nothing any more
    :raises TimeoutError: when it takes too long
    """
    remove_left(engine, record)
    build = _Build(engine, record)
    watch = threading.Timer(seconds, build.end)
    watch.daemon = True
    watch.start()
    try:
        build.run(context, name, arguments, label, silence=seconds + _ENGINE_SECONDS)
    except (urllib3.exceptions.HTTPError, docker.errors.StreamParseError) as error:
        raise requests.exceptions.ConnectionError(str(error)) from None
    except docker.errors.APIError:
        if build.late:
            raise TimeoutError(f"it was not done after {seconds / 60:.0f} minutes") from None
        raise
    finally:
        watch.cancel()
        build.end()
        remove_left(engine, record)
    return str(engine.api.inspect_image(name)["Id"])


class _Build:
    """A build that is under way."""

    def __init__(self, engine: Engine, record: Path) -> None:
        self.late = False
        self._engine = engine
        self._record = record
        self._container: str | None = None

    def run(
        self, context: IO[bytes], name: str, arguments: dict[str, str], label: tuple[str, str], *, silence: float
    ) -> None:
        said: deque[str] = deque(maxlen=_WORDS)
        for line in self._engine.api.build(
            fileobj=context,
            custom_context=True,
            tag=name,
            buildargs=arguments,
            labels=dict([label]),
            network_mode="none",
            nocache=True,  # what an earlier build has left may be damaged
            rm=True,
            forcerm=True,
            decode=True,
            timeout=silence,
        ):
            said.append(line.get("stream", ""))
            if made := _MADE.fullmatch(said[-1]):
                self._note(made[2], container=made[1] is not None)
            if "error" in line:
                words = " ".join(word.strip() for word in said if word.strip())
                raise docker.errors.APIError(f"{line['error']} ({words[-200:]})")

    def _note(self, found: str, *, container: bool) -> None:
        if container:
            self._container = found
        with self._record.open("a") as file:
            file.write(f"{'container' if container else 'image'} {found}\n")
            file.flush()
            os.fsync(file.fileno())
        if container and self.late:
            self.end()

    def end(self) -> None:
        """Have the engine give up: a step whose container is gone has failed."""
        self.late = True
        if self._container is not None:
            with suppress(docker.errors.DockerException, requests.exceptions.RequestException):
                self._engine.remove(self._container)


def remove_left(engine: Engine, record: Path) -> None:
    """Remove what a build that has ended, in whatever way, has made beside its image.

    What the engine does not want to remove, since an image with a name was made on it, stays.

    :param record: of the build; it is gone afterwards
    """
    if not record.exists():
        return
    found = [line.split(" ", 1) for line in record.read_text().splitlines() if " " in line]
    with suppress(docker.errors.DockerException, requests.exceptions.RequestException):
        images = _and_made_on(engine, [name for kind, name in found if kind == "image"])
        heard = [name for kind, name in found if kind == "container"]
        for container in [*heard, *_containers_of(engine, images)]:
            _remove_container(engine, container)
        if all(_remove_step(engine, image) for image in images):
            record.unlink()


def _containers_of(engine: Engine, images: list[str]) -> list[str]:
    """Ids of the containers of images: a process that was killed has not heard of the last one."""
    return [found["Id"] for found in engine.api.containers(all=True) if found["ImageID"] in images]


def _remove_step(engine: Engine, image: str) -> bool:
    """Remove the image of a step; returns whether that is done, or will never be."""
    try:
        engine.api.remove_image(image, noprune=True)
    except docker.errors.APIError as error:
        # the engine could not right now, as on a full disk; or it has a container, which is just being ended
        return not error.is_server_error() and "container" not in str(error.explanation)
    return True


def _remove_container(engine: Engine, name: str) -> None:
    engine.remove(name)
    wait_until(lambda: engine.state(name) is None, seconds=_REMOVE_SECONDS)  # the engine may be at it itself


def _and_made_on(engine: Engine, images: list[str]) -> list[str]:
    """Ids of images without a name that steps have made, and of all that were made on those, newest first.

    A process that was killed has not heard of the last ones. The image that a build begins with is none of them: it
    has a name, or no parent.
    """
    unnamed = {
        image["Id"]: image["ParentId"]
        for image in _all_images(engine)
        if image["ParentId"] and not (set(image["RepoTags"] or []) | set(image["RepoDigests"] or [])) - _NO_NAMES
    }
    found = [image for known in images for image in unnamed if image.removeprefix("sha256:").startswith(known)]
    for image in found:  # grows meanwhile
        found += [child for child, parent in unnamed.items() if parent == image and child not in found]
    return list(dict.fromkeys(reversed(found)))


def _all_images(engine: Engine) -> list[dict[str, Any]]:
    """What the engine says of all its images."""
    for _ in range(_TRIES):
        with suppress(docker.errors.APIError):  # one of them was removed meanwhile
            found: list[dict[str, Any]] = engine.api.images(all=True)
            return found
    return []
