# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine, through its API (docker-py, with version negotiation).

Everything here may be repeated: creating what exists, stopping what is stopped and removing what is gone are no
errors.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    import docker
    import docker.auth
    import docker.errors
    import requests.exceptions
    import urllib3.exceptions

    HAS_DOCKER = True
except ImportError:
    HAS_DOCKER = False

from ..build_plan import NAMES
from ..containers import ContainerSpec
from ..errors import ClmsError
from ..pull_watch import SILENCE, PullWatch

_OUTPUT_LINES = 10_000
"""of a container that runs once"""
_LAST_WORDS_SECONDS = 10
"""for which what a stopped container has written may be on its way"""
_READS = 2
"""times that an image is read before it counts as damaged"""
_OF_THE_ENGINE = re.compile(
    r"(?:too many open files|read-only file system|permission denied|operation not permitted|cannot allocate memory"
    r"|resource temporarily unavailable|device or resource busy|connection refused|canceled|deadline exceeded)\W*$"
)
"""how it ends what an engine says, also of a file, that cannot read for other reasons than the image"""
_OF_THE_CONTENT = re.compile(
    r"checksum|\beof\b|no such|does not exist|layer|verify|invalid|unexpected|(?:^|[\s\"'])/[a-z]"
)
"""what it says of a damaged one: of its files, of some by their paths, of its layers, and of what is noted of them"""
_LOG_LIMIT = {"type": "json-file", "config": {"max-size": "10m", "max-file": "3"}}


@dataclass(frozen=True)
class ContainerState:
    """What the engine says of a container."""

    name: str
    running: bool
    exit_code: int
    out_of_memory: bool
    image: str
    """id of the image it runs"""
    health: str | None
    """``healthy``, ``unhealthy``, ``starting``; None without a health check"""
    started_at: str
    restart_policy: str
    labels: dict[str, str] = field(default_factory=dict)
    networks: frozenset[str] = frozenset()
    """names of the networks that it is connected to"""
    error: str = ""
    """why the engine could not start it the last time that it tried; empty where it could"""


class Engine:
    """One Docker engine."""

    def __init__(self) -> None:
        """:raises ClmsError: ENGINE_UNREACHABLE"""
        try:
            self.client = docker.from_env(timeout=600)
            self.client.ping()
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise ClmsError("ENGINE_UNREACHABLE", detail=str(error)[:200]) from None
        self.api: Any = self.client.api  # its stubs lag behind the library

    def architecture(self) -> str:
        """``amd64``, ``arm64``, …, as image indexes name it."""
        return str(self.client.version()["Arch"])

    def root(self) -> Path:
        """The engine's data folder."""
        return Path(self.client.info()["DockerRootDir"])

    def names_images_by_manifest(self) -> bool:
        """Whether its images are in containerd's store, where the digest of a configuration finds none."""
        return ["driver-type", "io.containerd.snapshotter.v1"] in (self.client.info().get("DriverStatus") or [])

    # containers

    def state(self, name: str) -> ContainerState | None:
        """The state of a container, or None when there is none of that name."""
        try:
            found = self.api.inspect_container(name)
        except docker.errors.NotFound:
            return None
        state = found["State"]
        return ContainerState(
            name=name,
            running=bool(state["Running"]) and not state.get("Restarting", False),
            exit_code=int(state["ExitCode"]),
            out_of_memory=bool(state["OOMKilled"]),
            image=found["Image"],
            health=state["Health"]["Status"] if state.get("Health") else None,
            started_at=state["StartedAt"],
            restart_policy=found["HostConfig"]["RestartPolicy"]["Name"] or "no",
            labels=found["Config"]["Labels"] or {},
            networks=frozenset(found["NetworkSettings"]["Networks"]),
            error=str(state.get("Error") or ""),
        )

    def is_running(self, name: str) -> bool:
        """Whether a container of that name runs."""
        state = self.state(name)
        return state is not None and state.running

    def has_ended(self, name: str) -> bool:
        """Whether a container is known not to run; an engine that does not answer may come back, and it with it."""
        try:
            return not self.is_running(name)
        except (docker.errors.DockerException, requests.exceptions.RequestException):
            return False

    def create(self, spec: ContainerSpec) -> None:
        """Create a container, not started and without restart policy."""
        if self.state(spec.name):
            return
        self.api.create_container(
            spec.image,
            name=spec.name,
            command=list(spec.command) if spec.command else None,
            environment=spec.environment,
            labels=spec.labels,
            stop_timeout=spec.stop_grace,
            host_config=self.api.create_host_config(
                binds=list(spec.binds), network_mode=spec.network, log_config=_LOG_LIMIT
            ),
            networking_config=self.api.create_networking_config(
                {spec.network: self.api.create_endpoint_config(aliases=list(spec.aliases))}
            ),
        )

    def start(self, name: str) -> None:
        """Start a container."""
        self.api.start(name)

    def stop(self, name: str, grace: int) -> ContainerState | None:
        """Stop a container: SIGTERM, then SIGKILL after ``grace`` seconds; returns its state afterwards."""
        try:
            self.api.stop(name, timeout=grace)
        except docker.errors.NotFound:
            return None
        return self.state(name)

    def remove(self, name: str) -> None:
        """End and remove a container with its anonymous volumes."""
        try:
            self.api.remove_container(name, force=True, v=True)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            if error.status_code != 409:  # 409: its removal is already in progress
                raise

    def rename(self, name: str, new: str) -> None:
        """Give a container another name."""
        self.api.rename(name, new)

    def set_restart(self, name: str, policy: str) -> None:
        """Set the restart policy of a container that exists."""
        if self.state(name):
            self.api.update_container(name, restart_policy={"Name": policy})

    def logs(self, name: str, *, lines: int = 200, since: float | None = None) -> str:
        """The last ``lines`` lines of a container's output, of those written after ``since`` (1970 seconds)."""
        try:
            options: dict[str, Any] = {"since": since} if since else {}
            output = self.api.logs(name, tail=lines, **options)
        except docker.errors.APIError:
            return ""
        return output.decode(errors="replace") if isinstance(output, bytes) else str(output)

    @contextmanager
    def listening(self, name: str) -> Iterator[list[bytes]]:
        """What a container writes while the body runs; complete at the end of a body that stops it.

        Unlike :meth:`logs` it does not come from the engine's log file, which cannot be read any more behind what a
        power cut has left unfinished in it, and which other log drivers do not have.
        """
        heard: list[bytes] = []
        try:
            stream = self.api.attach(name, stdout=True, stderr=True, stream=True, logs=False)
        except docker.errors.APIError:  # it does not run
            yield heard
            return

        def listen() -> None:
            with suppress(OSError, docker.errors.DockerException):  # the engine is gone
                heard.extend(stream)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield heard
        listener.join(_LAST_WORDS_SECONDS)

    def by_label(self, **wanted: str) -> list[str]:
        """Names of the containers, running or not, with all the labels ``clms.<key>=<value>``."""
        filters = {"label": [f"clms.{key}={value}" for key, value in wanted.items()]}
        return sorted(found["Names"][0].lstrip("/") for found in self.api.containers(all=True, filters=filters))

    def address(self, name: str, network: str) -> str | None:
        """The IP address of a container in a network, or None."""
        try:
            networks = self.api.inspect_container(name)["NetworkSettings"]["Networks"]
        except docker.errors.NotFound:
            return None
        return networks.get(network, {}).get("IPAddress") or None

    def run_once(self, spec: ContainerSpec, *, timeout: int) -> tuple[int | None, str]:
        """Run a container to its end and remove it.

        :returns: exit code (None when it was killed after ``timeout`` seconds) and the last 10,000 lines of its output
        """
        self.remove(spec.name)
        self.create(spec)
        try:
            self.start(spec.name)
            try:
                exit_code = int(self.api.wait(spec.name, timeout=timeout)["StatusCode"])
            except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError):
                return None, self.logs(spec.name, lines=_OUTPUT_LINES)
            return exit_code, self.logs(spec.name, lines=_OUTPUT_LINES)
        finally:
            self.remove(spec.name)

    # networks

    def ensure_network(self, name: str, *, internal: bool, labels: dict[str, str]) -> None:
        """Make a bridge network where there is none of that name."""
        if not self.api.networks(names=[f"^{name}$"]):
            self.api.create_network(name, driver="bridge", internal=internal, labels=labels, check_duplicate=True)

    def connect(self, container: str, network: str) -> None:
        """Connect a container to a network."""
        found = self.api.inspect_container(container)
        if network not in found["NetworkSettings"]["Networks"]:
            self.api.connect_container_to_network(container, network)

    def connect_as(self, container: str, network: str, alias: str) -> None:
        """Connect a container to a network under an alias."""
        found = self.api.inspect_container(container)
        if network not in found["NetworkSettings"]["Networks"]:
            self.api.connect_container_to_network(container, network, aliases=[alias])

    def disconnect(self, container: str, network: str) -> None:
        """Disconnect a container from a network."""
        try:
            self.api.disconnect_container_from_network(container, network, force=True)
        except docker.errors.APIError as error:
            if error.status_code not in (403, 404, 500):  # not connected, or one of the two is gone
                raise

    def remove_network(self, name: str) -> None:
        """Disconnect everything from a network and remove it."""
        try:
            found = self.api.inspect_network(name)
        except docker.errors.NotFound:
            return
        for container in found.get("Containers") or {}:
            self.disconnect(container, name)
        try:
            self.api.remove_network(name)
        except docker.errors.NotFound:
            return

    def remove_unused_network(self, name: str) -> None:
        """Remove a network, unless a container is connected to it."""
        try:
            if not self.api.inspect_network(name).get("Containers"):
                self.api.remove_network(name)
        except docker.errors.NotFound:
            return

    def networks_by_label(self, **wanted: str) -> list[str]:
        """Names of the networks with all the labels ``clms.<key>=<value>``."""
        filters = {"label": [f"clms.{key}={value}" for key, value in wanted.items()]}
        return sorted(found["Name"] for found in self.api.networks(filters=filters))

    # volumes

    def ensure_volume(self, name: str, labels: dict[str, str]) -> Path:
        """Make a volume where there is none of that name; returns its folder on the server."""
        return Path(self.api.create_volume(name, labels=labels)["Mountpoint"])

    def volume_path(self, name: str) -> Path | None:
        """The folder of a volume on the server, or None when there is no such volume."""
        try:
            return Path(self.api.inspect_volume(name)["Mountpoint"])
        except docker.errors.NotFound:
            return None

    def remove_volume(self, name: str) -> None:
        """Remove a volume that no container uses."""
        try:
            self.api.remove_volume(name, force=True)
        except docker.errors.NotFound:
            return

    def volumes_by_label(self, **wanted: str) -> list[str]:
        """Names of the volumes with all the labels ``clms.<key>=<value>``."""
        filters = {"label": [f"clms.{key}={value}" for key, value in wanted.items()]}
        return sorted(found["Name"] for found in self.api.volumes(filters=filters)["Volumes"] or [])

    # images

    def image(self, reference: str) -> dict[str, Any] | None:
        """What the engine knows of an image, or None; only the name of one that a power cut has damaged."""
        try:
            found: dict[str, Any] = self.api.inspect_image(reference)
        except docker.errors.ImageNotFound:
            return None
        except docker.errors.APIError as error:
            if error.status_code != 500:
                raise
            return {"Id": reference, "RootFS": {"Layers": []}, "RepoDigests": []}
        return found

    def is_whole(self, reference: str) -> bool:
        """Whether everything of an image can be read: after a power cut, files that the engine counts on may be empty.

        The engine compares each file with what it noted when it got the layer. An image is removed that is not whole,
        so an engine that was only slow, full or restarted says nothing of it.

        :raises ClmsError: DISK_TOO_SMALL, as it writes the image to its disk before it answers; ENGINE_UNREACHABLE also
            where it cannot read for another reason
        """
        for _ in range(_READS):
            try:
                for _part in self.api.get_image(reference):
                    pass
                return True
            except docker.errors.APIError as error:
                said = str(error.explanation or error)
                if "no space left" in said.lower():
                    raise ClmsError("DISK_TOO_SMALL", detail=said[:200]) from None
                if not _is_of_content(said.lower()):
                    raise ClmsError("ENGINE_UNREACHABLE", detail=said[:200]) from None
            except requests.exceptions.RequestException as error:  # it ended in the middle
                if isinstance(error, requests.exceptions.Timeout) or _has_been_silent(error):
                    raise ClmsError("ENGINE_UNREACHABLE", detail=str(error)[:200]) from None
                self._answers(error)
        return False

    def _answers(self, problem: Exception) -> None:
        """:raises ClmsError: ENGINE_UNREACHABLE when the engine does not answer, which explains the problem"""
        try:
            self.client.ping()
        except (docker.errors.DockerException, requests.exceptions.RequestException):
            raise ClmsError("ENGINE_UNREACHABLE", detail=str(problem)[:200]) from None

    def pull(self, repository: str, digest: str, login: dict[str, str] | None, watch: PullWatch) -> None:
        """Pull ``repository@digest``; the engine ends the pull when nobody listens any more.

        The library's own function waits for as long as a registry says nothing.

        :param login: ``username`` and ``password`` for the registry
        :raises docker.errors.APIError: when the registry or the engine refuses
        :raises ClmsError: PULL_TOO_SLOW, IMAGE_TOO_LARGE, ENGINE_UNREACHABLE
        """
        if login is None:
            header = docker.auth.get_config_header(self.api, docker.auth.resolve_repository_name(repository)[0])
        else:
            header = docker.auth.encode_header(login)
        try:
            with closing(
                self.api.post(
                    f"{self.api.base_url}/v{self.api.api_version}/images/create",
                    params={"fromImage": repository, "tag": digest},
                    headers={"X-Registry-Auth": header} if header else {},
                    stream=True,
                    timeout=SILENCE,
                )
            ) as response:
                _check_answer(response)
                for text in response.iter_lines():
                    line = json.loads(text or b"{}")
                    if "error" in line:
                        raise docker.errors.APIError(line["error"])
                    watch.see(line)
        except docker.errors.APIError:  # it is a RequestException too
            raise
        except requests.exceptions.RequestException as error:
            if _has_been_silent(error):
                raise watch.silent() from None
            raise ClmsError("ENGINE_UNREACHABLE", detail=str(error)[:200]) from None

    def remove_image(self, reference: str, *, force: bool = False) -> bool:
        """Remove an image that no container uses; returns whether it was there and is gone.

        One that somebody else has given a name stays: to the engine, the only name of an image goes with its id.

        :param force: also then, and where it has several names
        """
        try:
            if not force and self._named_by_others(reference):
                return False
            self.api.remove_image(reference, force=force)
        except (docker.errors.ImageNotFound, docker.errors.APIError):
            return False
        return True

    def _named_by_others(self, reference: str) -> bool:
        names = self.api.inspect_image(reference)["RepoTags"] or []
        return reference.startswith("sha256:") and any(not name.startswith(NAMES) for name in names)


def _is_of_content(said: str) -> bool:
    """Whether an error in small letters speaks of what is in an image, and not of the engine that reads it."""
    return _OF_THE_ENGINE.search(said) is None and _OF_THE_CONTENT.search(said) is not None


def _has_been_silent(error: requests.exceptions.RequestException) -> bool:
    """Whether an answer has not come in time; in the middle of one, the library hides that in another error."""
    hidden = next(iter(error.args), None)
    return isinstance(error, requests.exceptions.ReadTimeout) or isinstance(hidden, urllib3.exceptions.ReadTimeoutError)


def _check_answer(response: Any) -> None:
    """:raises docker.errors.APIError: when the engine refuses"""
    try:
        response.raise_for_status()
    except requests.exceptions.HTTPError as error:
        docker.errors.create_api_error_from_http_exception(error)


def wait_until(test: Callable[[], bool], *, seconds: float, pause: float = 0.05) -> bool:
    """Repeat ``test`` until it holds or ``seconds`` have passed; returns whether it held."""
    deadline = time.monotonic() + seconds
    while True:
        if test():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)


@contextmanager
def engine_errors(code: str, *, version: object = "?") -> Iterator[None]:
    """Turn what the engine complains about in the body into a ClmsError with ``code`` and its ``detail``.

    :param version: for codes whose texts name it
    """
    try:
        yield
    except docker.errors.APIError as error:
        raise ClmsError(code, version=version, detail=str(error.explanation or error)[:500]) from None
    except requests.exceptions.RequestException as error:
        raise ClmsError("ENGINE_UNREACHABLE", detail=str(error)[:200]) from None
