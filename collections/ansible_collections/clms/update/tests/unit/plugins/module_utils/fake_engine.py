# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker engine that exists in memory only."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import ContainerState
from ansible_collections.clms.update.plugins.module_utils.containers import ContainerSpec
from ansible_collections.clms.update.plugins.module_utils.pull_watch import PullWatch
from ansible_collections.clms.update.plugins.module_utils.slots import Slot


@dataclass
class FakeEngine:
    """A Docker engine in memory. ``calls`` are the changes that were asked for, in their order."""

    folder: Path
    containers: dict[str, ContainerState] = field(default_factory=dict)
    specs: dict[str, ContainerSpec] = field(default_factory=dict)
    label_sets: dict[str, dict[str, str]] = field(default_factory=dict)
    """name of a container, volume or network -> its labels"""
    volumes: dict[str, Path] = field(default_factory=dict)
    networks: set[str] = field(default_factory=set)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_manifest: bool = False
    """whether it names images by their manifests"""
    damaged: set[str] = field(default_factory=set)
    """images of which files are missing"""
    outputs: dict[str, str] = field(default_factory=dict)
    """container -> what it has said"""
    heard: dict[str, list[bytes]] = field(default_factory=dict)
    """container -> what it says while somebody listens"""
    fails: dict[tuple[str, str], Exception] = field(default_factory=dict)
    """call and its first argument -> what it raises"""
    calls: list[tuple[str, ...]] = field(default_factory=list)
    exit_codes: dict[str, int | None] = field(default_factory=dict)
    """container -> code with which it ends"""

    def __post_init__(self) -> None:
        self.api = FakeApi(self)

    def set_up(self, slot: Slot, project: str, *, running: bool = True) -> None:
        """Make everything that a slot consists of."""
        self.networks.add(slot.network)
        for name, service in slot.services.items():
            own = {"project": project, "run": str(slot.run), "slot": slot.name, "service": name, "purpose": "service"}
            labels = {f"clms.{key}": value for key, value in own.items()}
            self.add(service.container, running=running, image=service.image, labels=labels, restart="always")
            self._join(service.container, slot.network)
            self.images.setdefault(service.image, {"RootFS": {"Layers": []}})
        for volume in slot.volumes.values():
            self.ensure_volume(volume, {})
        self.calls.clear()

    def add(
        self, name: str, *, running: bool = True, image: str = "", labels: dict[str, str], restart: str = "no"
    ) -> None:
        """Make a container where there is none of that name."""
        state = ContainerState(name, running, 0, False, image, None, "", restart, labels)
        self.containers.setdefault(name, state)
        self.label_sets.setdefault(name, labels)

    def _join(self, name: str, network: str) -> None:
        if name in self.containers:
            state = self.containers[name]
            self.containers[name] = replace(state, networks=state.networks | {network})

    def _part(self, name: str, network: str) -> None:
        if name in self.containers:
            state = self.containers[name]
            self.containers[name] = replace(state, networks=state.networks - {network})

    def did(self, *names: str) -> list[tuple[str, ...]]:
        """The calls of these names."""
        return [call for call in self.calls if call[0] in names]

    def running(self) -> set[str]:
        """Names of the containers that run."""
        return {name for name, state in self.containers.items() if state.running}

    def connected(self, network: str) -> set[str]:
        """Names of the containers that are connected to a network."""
        return {name for name, state in self.containers.items() if network in state.networks}

    def _call(self, name: str, *arguments: str) -> None:
        self.calls.append((name, *arguments))
        if error := self.fails.get((name, arguments[0])):
            raise error

    def architecture(self) -> str:
        return "amd64"

    def names_images_by_manifest(self) -> bool:
        return self.by_manifest

    def root(self) -> Path:
        return self.folder

    def state(self, name: str) -> ContainerState | None:
        return self.containers.get(name)

    def has_ended(self, name: str) -> bool:
        return not self.is_running(name)

    def is_running(self, name: str) -> bool:
        return name in self.running()

    def create(self, spec: ContainerSpec) -> None:
        self._call("create", spec.name)
        if spec.name in self.containers:
            return
        self.specs[spec.name] = spec
        self.label_sets[spec.name] = spec.labels
        self.add(spec.name, running=False, image=spec.image, labels=spec.labels)
        self._join(spec.name, spec.network)

    def start(self, name: str) -> None:
        self._call("start", name)
        self.containers[name] = replace(self.containers[name], running=True)

    def stop(self, name: str, grace: int) -> ContainerState | None:
        self._call("stop", name, str(grace))
        if name in self.containers:
            code = self.exit_codes.get(name, 0) or 0
            self.containers[name] = replace(self.containers[name], running=False, exit_code=code)
        return self.containers.get(name)

    def remove(self, name: str) -> None:
        self._call("remove", name)
        self.containers.pop(name, None)

    def rename(self, name: str, new: str) -> None:
        self._call("rename", name, new)
        assert new not in self.containers, f"409: the name {new} is in use"
        self.containers[new] = replace(self.containers.pop(name), name=new)
        for known in (self.specs, self.label_sets):
            if name in known:
                known[new] = known.pop(name)  # type: ignore[attr-defined]

    def set_restart(self, name: str, policy: str) -> None:
        self._call("set_restart", name, policy)
        if name in self.containers:
            self.containers[name] = replace(self.containers[name], restart_policy=policy)

    def logs(self, name: str, *, lines: int = 200, since: float | None = None) -> str:
        return "\n".join(self.outputs.get(name, "").splitlines()[-lines:])

    @contextmanager
    def listening(self, name: str) -> Iterator[list[bytes]]:
        yield self.heard.get(name, [])

    def _labelled(self, names: Any, wanted: dict[str, str]) -> list[str]:
        asked = {f"clms.{key}": value for key, value in wanted.items()}.items()
        return sorted(name for name in names if asked <= self.label_sets.get(name, {}).items())

    def by_label(self, **wanted: str) -> list[str]:
        return self._labelled(self.containers, wanted)

    def volumes_by_label(self, **wanted: str) -> list[str]:
        return self._labelled(self.volumes, wanted)

    def networks_by_label(self, **wanted: str) -> list[str]:
        return self._labelled(self.networks, wanted)

    def address(self, name: str, network: str) -> str | None:
        return "192.0.2.1" if self.is_running(name) else None

    def run_once(self, spec: ContainerSpec, *, timeout: int) -> tuple[int | None, str]:
        self._call("run_once", spec.name, str(timeout))
        self.specs[spec.name] = spec
        return self.exit_codes.get(spec.name, 0), self.outputs.get(spec.name, "")

    def ensure_network(self, name: str, *, internal: bool, labels: dict[str, str]) -> None:
        self._call("ensure_network", name, "internal" if internal else "open")
        self.networks.add(name)
        self.label_sets[name] = labels

    def connect(self, container: str, network: str) -> None:
        self._call("connect", container, network)
        self._join(container, network)

    def connect_as(self, container: str, network: str, alias: str) -> None:
        self._call("connect_as", container, network, alias)
        self._join(container, network)

    def disconnect(self, container: str, network: str) -> None:
        self._call("disconnect", container, network)
        self._part(container, network)

    def remove_network(self, name: str) -> None:
        self._call("remove_network", name)
        for container in self.connected(name):
            self._part(container, name)
        self.networks.discard(name)

    def remove_unused_network(self, name: str) -> None:
        self._call("remove_unused_network", name)
        if not self.connected(name):
            self.networks.discard(name)

    def ensure_volume(self, name: str, labels: dict[str, str]) -> Path:
        self._call("ensure_volume", name)
        self.label_sets[name] = labels
        self.volumes.setdefault(name, self.folder / name).mkdir(parents=True, exist_ok=True)
        return self.volumes[name]

    def volume_path(self, name: str) -> Path | None:
        return self.volumes.get(name)

    def remove_volume(self, name: str) -> None:
        self._call("remove_volume", name)
        if path := self.volumes.pop(name, None):
            shutil.rmtree(path)

    def image(self, reference: str) -> dict[str, Any] | None:
        return self.images.get(reference)

    def pull(self, repository: str, digest: str, login: dict[str, str] | None, watch: PullWatch) -> None:
        self._call("pull", f"{repository}@{digest}")

    def is_whole(self, reference: str) -> bool:
        self.calls.append(("read", reference))
        return reference not in self.damaged

    def remove_image(self, reference: str, *, force: bool = False) -> bool:
        self._call("remove_image", reference)
        return self.images.pop(reference, None) is not None


class FakeApi:
    """What is asked of the engine's library itself: the gate's container, which is unlike those of services."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.created: dict[str, dict[str, Any]] = {}
        """name -> the arguments of ``create_container``"""

    def create_host_config(self, **options: Any) -> dict[str, Any]:
        return options

    def create_container(self, image: str, *, name: str, labels: dict[str, str], **options: Any) -> None:
        self._engine._call("create", name)
        assert name not in self._engine.containers, f"409: the name {name} is in use"
        self._engine.add(name, running=False, image=image, labels=labels)
        self._engine._join(name, options["host_config"]["network_mode"])
        self.created[name] = {"image": image, "labels": labels, **options}

    def kill(self, name: str, signal: str) -> None:
        self._engine._call("kill", name, signal)
