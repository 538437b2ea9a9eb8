# SPDX-License-Identifier: GPL-3.0-or-later
"""One stand: a release manager, a registry, a release server and some schools, all with one prefix and one folder."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.adapters.database import database_of
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine, wait_until
from ansible_collections.clms.update.plugins.module_utils.build_plan import LABEL
from ansible_collections.clms.update.plugins.module_utils.containers import parse_env_file
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from tests.base_images import build as base_images
from tests.base_images.docker_cli import DOCKER, docker
from tests.sample_clms import build as sample

from .errors import StandError
from .page import Page, free_port, write_secret

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LIBRARIAN = "librarian"


@dataclass(frozen=True)
class Finished:
    """What a command printed and how it ended."""

    code: int
    output: str
    errors: str = ""

    def json(self) -> dict[str, Any]:
        """The one JSON object on its standard output."""
        decoded: dict[str, Any] = json.loads(self.output)
        return decoded


def _bridge_address() -> str:
    """The address of this machine on the engine's default bridge: schools and containers reach it, nobody outside."""
    subnet = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Subnet"]
    return str(next(ip_network(subnet).hosts()))


class Stand:
    """A stand; its settings are in ``stand.json`` in its folder, which the inventories read."""

    def __init__(self, folder: Path) -> None:
        """:param folder: made by :meth:`create`; everything of the stand but containers lies in it"""
        self.folder = folder
        self.file = folder / "stand.json"
        self.settings: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}

    @classmethod
    def create(cls, folder: Path, *, prefix: str, schools: list[str], backup_images: bool = True) -> Stand:
        """Write down names, ports and addresses, unless that was done before."""
        stand = cls(folder)
        if stand.settings:
            return stand
        base_images.build_all(base_images.NAMES)
        sample.build_release("1.0.0")
        address = _bridge_address()
        vendor = folder / "vendor"
        vendor.mkdir(parents=True, exist_ok=True)
        stand.settings = {
            "prefix": prefix,
            "backup_images": backup_images,
            "images": {
                "mysql": docker("image", "inspect", "--format", "{{.Id}}", sample.tags("1.0.0")["mysql"]),
                "gate": docker("image", "inspect", "--format", "{{.Id}}", base_images.image("haproxy")),
                "registry": base_images.image("registry"),
                "release_server": base_images.image("nginx"),
            },
            "vendor": {
                "folder": str(vendor),
                "address": address,
                "registry": f"{address}:{free_port(address)}",
                "releases": f"{address}:{free_port(address)}",
            },
            "schools": {
                name: {
                    "folder": str(folder / "schools" / name),
                    "http_port": free_port("127.0.0.1"),
                    "database_port": free_port("127.0.0.1"),
                    "recovery_recipient": "",
                }
                for name in schools
            },
        }
        write_secret(vendor / "registry-credentials.json", {"username": "clms", "password": secrets.token_urlsafe(18)})
        stand.save()
        return stand

    def save(self) -> None:
        """Write the settings."""
        self.file.write_text(json.dumps(self.settings, indent=2))

    @property
    def prefix(self) -> str:
        """What the names of all containers of this stand begin with."""
        return str(self.settings["prefix"])

    # commands

    def command(self, *arguments: str | Path, check: bool = True, quiet: bool = True, stdin: str = "") -> Finished:
        """Run a command from the repository's root, with the virtual environment's commands first.

        :raises StandError: with the end of its output, when ``check`` is set and it fails
        """
        done = subprocess.run(
            [str(argument) for argument in arguments],
            cwd=ROOT,
            env=self._environment(),
            input=stdin,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            check=False,
        )
        if check and done.returncode:
            tail = "\n".join(((done.stdout or "") + (done.stderr or "")).strip().splitlines()[-40:])
            raise StandError(f"'{arguments[0]} {arguments[1]}' ended with code {done.returncode}:\n{tail}")
        return Finished(done.returncode, done.stdout or "", done.stderr or "")

    def fork(self, log: Path, command: str, *arguments: str | Path, **variables: str) -> None:
        """Start one of our commands that goes on by itself.

        :param log: gets what it says
        :param variables: of its environment
        """
        with log.open("ab") as output:
            subprocess.run(
                ["setsid", "--fork", BIN / command, *arguments], cwd=ROOT, env=self._environment() | variables,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True,
            )  # fmt: skip

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a command as :meth:`command` would, in a session of its own; the caller waits for it."""
        return subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=ROOT,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CLMS_STAND": str(self.file), "PATH": f"{BIN}:{os.environ['PATH']}"}

    def playbook(self, name: str, *arguments: str, inventory: str = "demo", check: bool = True) -> Finished:
        """Run one of the repository's playbooks."""
        return self.command(
            "ansible-playbook", f"playbooks/{name}.yml", "-i", f"inventories/{inventory}", *arguments, check=check
        )

    def clms_update(self, school: str, *arguments: str, check: bool = True, quiet: bool = True) -> Finished:
        """Run ``clms-update`` as on the server of ``school``."""
        config = self.school_folder(school) / "etc"
        return self.command("clms-update", "--config", config, *arguments, check=check, quiet=quiet)

    # the vendor

    @property
    def vendor(self) -> Path:
        """Folder of the vendor's side."""
        return Path(self.settings["vendor"]["folder"])

    @property
    def release_manager(self) -> Path:
        """Folder of the release manager, with the signing keys."""
        return self.vendor / "release-manager"

    def release_tool(self, *arguments: str | Path, check: bool = True) -> Finished:
        """Run ``clms-release``."""
        command, *rest = arguments
        return self.command("clms-release", command, "--home", self.release_manager, *rest, "--json", check=check)

    def set_up_vendor(self) -> None:
        """Registry, release server and the release manager's keys."""
        self.playbook("vendor")
        if not (self.release_manager / "vendor.json").exists():  # written last
            shutil.rmtree(self.release_manager, ignore_errors=True)
            self.release_tool("init", "--name", "CLMS Vendor (demo)")

    @property
    def release_api(self) -> Path:
        """Folder of what answers schools beside the signed files."""
        return self.vendor / "releases/api"

    def start_release_api(self) -> None:
        """Start what answers schools and takes their reports, where it does not run; it goes on by itself.

        :raises StandError: when it does not come up
        """
        if self.release_api_process() is not None:
            return
        log = self.release_api / "gunicorn.log"
        command = ("gunicorn", "-c", "python:webui.vendor.gunicorn_conf", "--pid", self.release_api / "pid")
        self.fork(log, *command, "webui.vendor.wsgi:app", **self._release_settings)
        if not wait_until(lambda: self.release_api_process() is not None, seconds=30):
            raise StandError(f"The API of the release server did not start:\n{log.read_text()[-2000:]}")

    def release_api_process(self) -> int | None:
        """Its process, or None where none listens."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.release_api / "server.sock"))
                return int((self.release_api / "pid").read_text())
            except (OSError, ValueError):
                return None

    @property
    def _release_settings(self) -> dict[str, str]:
        return {"CLMS_RELEASE_SERVER_CONFIG": str(self.vendor / "releases/settings.yml")}

    def release_server(self, *arguments: str | Path) -> dict[str, Any]:
        """Run ``clms-release-server`` as its operator."""
        command = [str(argument) for argument in ("clms-release-server", *arguments, "--json")]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment() | self._release_settings, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise StandError(f"'{' '.join(command)}' ended with code {done.returncode}: {done.stdout}{done.stderr}")
        decoded: dict[str, Any] = json.loads(done.stdout)
        return decoded

    def enrol(self, school: str) -> None:
        """Make a school known to the release server, and give it its API key."""
        etc = self.school_folder(school) / "etc"
        key = etc / "secrets/release-server.key"
        if key.exists():
            return
        added = self.release_server("school", "add", school, "--public-key", etc / "reports.pub.pem")
        key.touch(mode=0o600)
        key.write_text(added["api_key"])

    def published(self) -> set[str]:
        """Versions that the release manager has signed."""
        return {release["version"] for release in self.release_tool("list").json()["releases"]}

    def publish(self, *versions: str, **changes: Any) -> None:
        """Build, sign and publish releases of the sample, as far as that was not done before.

        :param changes: fields of the release's definition that differ from the sample's
        """
        there = self.published()
        definitions = self.vendor / "definitions"
        definitions.mkdir(exist_ok=True)
        for version in versions:
            if version in there:
                continue
            sample.build_release(version)
            definition = definitions / f"{version}.json"
            definition.write_text(json.dumps({**sample.release_definition(version), **changes}, indent=2))
            source = definitions / f"{version}-source"
            with_source = ("--source", source) if sample.write_source(version, source) else ()
            self.release_tool("build", "--definition", definition, *with_source)
            self.sign(version)
        self.publish_signed()

    def sign(self, version: str) -> None:
        """Sign a release that was built."""
        self.release_tool(
            "sign", version,
            "--registry", self.settings["vendor"]["registry"],
            "--registry-credentials", self.vendor / "registry-credentials.json",
            "--registry-ca", self.vendor / "tls/ca.crt",
        )  # fmt: skip

    def publish_signed(self) -> None:
        """Give the release server all releases that were signed."""
        self.release_tool("publish", "--to", self.vendor / "releases/repository")

    def bundle(self, version: str) -> Path:
        """The file with a release for schools without a network, as far as it was not made before."""
        folder = self.vendor / "bundles"
        file = folder / f"clms-{version}-amd64.zip"
        if not file.exists():
            self.release_tool("bundle", version, "--to", folder)
        return file

    # the schools

    def school_folder(self, school: str) -> Path:
        """Folder of a school: ``etc``, ``state`` and ``backups``."""
        return Path(self.settings["schools"][school]["folder"])

    def home(self, school: str) -> Path:
        """State folder of a school."""
        return self.school_folder(school) / "state"

    def url(self, school: str) -> str:
        """Where users of a school reach CLMS."""
        return f"http://127.0.0.1:{self.settings['schools'][school]['http_port']}"

    def set_up_schools(self, *names: str, version: str = "1.0.0", inventory: str = "demo") -> None:
        """Install schools of the inventory, all of the stand or ``names``, with a smoke user and a librarian."""
        schools = names or tuple(self.settings["schools"])
        self.playbook("school", "-e", f"clms_version={version}", "--limit", ",".join(schools), inventory=inventory)
        for school in schools:
            etc = self.school_folder(school) / "etc"
            recipient = (etc / "recovery-recipient.txt").read_text().strip()
            self.settings["schools"][school]["recovery_recipient"] = recipient
            smoke = json.loads((etc / "secrets/smoke.json").read_text())
            self.create_user(school, smoke["username"], smoke["password"])
            login = etc / "secrets/librarian.json"
            if not login.exists():
                write_secret(login, {"username": LIBRARIAN, "password": secrets.token_urlsafe(9)})
            self.create_user(school, LIBRARIAN, self.librarian(school)["password"])
        self.save()

    def agent_socket(self, school: str) -> Path:
        """Where the agent of a school listens, if it was started."""
        return self.school_folder(school) / "agent.sock"

    def agent_process(self, school: str) -> int | None:
        """The process of a school's agent, or None where none runs."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.agent_socket(school)))
            except OSError:
                return None
            return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder)

    def start_agent(self, school: str) -> None:
        """Start the agent of a school, where none runs; it goes on by itself.

        :raises StandError: when it does not come up
        """
        if self.agent_process(school) is not None:
            return
        log = self.school_folder(school) / "agent.log"
        self.fork(log, "clms-update-agent", "--config", self.school_folder(school) / "etc")
        if not wait_until(lambda: self.agent_process(school) is not None, seconds=30):
            raise StandError(f"The agent of {school} did not start:\n{log.read_text()[-2000:]}")

    def stop_agent(self, school: str) -> None:
        """End the agent of a school in good order, and with it a run that it does."""
        process = self.agent_process(school)
        if process is not None:
            os.kill(process, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{process}").exists(), seconds=300, pause=0.1)

    def page(self, school: str) -> Page:
        """The page of a school."""
        return Page(self, school)

    def librarian(self, school: str) -> dict[str, str]:
        """``username`` and ``password`` of a person who may sign in to CLMS."""
        login: dict[str, str] = json.loads((self.school_folder(school) / "etc/secrets/librarian.json").read_text())
        return login

    def create_user(self, school: str, username: str, password: str) -> None:
        """Make a user in CLMS, or give one a new password."""
        container = self.slot(school).services["backend"].container
        self.command(
            DOCKER or "docker", "exec", "-i", container,
            "clms-create-user", "--username", username, "--role", "LIBRARIAN",
            stdin=f"{password}\n",
        )  # fmt: skip

    def slot(self, school: str) -> Slot:
        """The slot that serves a school, as its journal says."""
        journal = Journal(self.home(school))
        try:
            slot = journal.slot("current")
            if slot is None:
                raise StandError(f"{school} is not installed")
            return slot
        finally:
            journal.close()

    def database(self, school: str) -> Any:
        """A connection to the database that serves a school."""
        journal = Journal(self.home(school))
        try:
            context = Context(journal, journal.run(journal.rows(limit=1)[0].id), "")
            return database_of(context, self.slot(school))
        finally:
            journal.close()

    def seed(self, school: str, *arguments: str) -> None:
        """Fill a school with data; see ``tests/sample_clms/seed.py``."""
        slot = self.slot(school)
        engine = Engine()
        address = engine.address(slot.services["mysql"].container, slot.network)
        uploads = engine.volume_path(slot.volumes["uploads"])
        self.command(
            BIN / "python", "tests/sample_clms/seed.py", "--host", address or "", "--uploads", uploads or "",
            "--defaults-file", self.school_folder(school) / "etc/secrets/database.cnf", *arguments,
        )  # fmt: skip

    def environment(self, school: str) -> dict[str, str]:
        """The environment file of a school's backend."""
        path = self.school_folder(school) / "etc/secrets/backend.env"
        return parse_env_file(path.read_text(), str(path))

    # the end

    def remove(self) -> None:
        """Remove the stand's containers, volumes, networks and folder, and nothing else."""
        if self.settings:
            for school in self.settings["schools"]:
                self.page(school).stop()
                self.stop_agent(school)
            api = self.release_api_process()
            if api is not None:
                os.kill(api, signal.SIGTERM)
                wait_until(lambda: not Path(f"/proc/{api}").exists(), seconds=60, pause=0.1)
            engine = Engine()
            for container in docker("ps", "-aq", "--filter", f"name=^{self.prefix}-").split():
                docker("rm", "-f", "-v", container)
            for volume in docker("volume", "ls", "-q", "--filter", f"name=^{self.prefix}-").split():
                engine.remove_volume(volume)
            for network in docker("network", "ls", "--format", "{{.Name}}").split():
                if network.startswith(f"{self.prefix}-"):
                    engine.remove_network(network)
            registry = self.settings["vendor"]["registry"]
            for image in docker("image", "ls", "--format", "{{.Repository}}@{{.Digest}}").split():
                if image.startswith(f"{registry}/"):
                    engine.remove_image(image)
            for school in filter(Journal.exists, map(self.home, self.settings["schools"])):
                _remove_built_images(engine, school)
            shutil.rmtree(Path("/etc/docker/certs.d") / registry, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_built_images(engine: Engine, home: Path) -> None:
    slots: list[Slot] = []
    with suppress(ClmsError), closing(Journal(home)) as journal:  # a test may have spoilt it
        slots = journal.slots("current", "previous", "candidate", "kept", "freed")
    for config in {service.config for slot in slots for service in slot.services.values() if service.config}:
        found = engine.image(config)
        if found is not None and LABEL in (found["Config"]["Labels"] or {}):
            engine.remove_image(config, force=True)
