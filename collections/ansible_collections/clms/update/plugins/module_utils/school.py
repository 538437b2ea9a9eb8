# SPDX-License-Identifier: GPL-3.0-or-later
"""A school as its inventory describes it: the ``clms_*`` variables, read into typed objects.

``roles/run/meta/argument_specs.yml`` documents every variable for people; this module is what decides whether a
description is complete. Secrets appear here only as paths of files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .calendar_rules import Schedule, parse_schedule
from .errors import ClmsError
from .fields import FieldError, Fields
from .maintenance_texts import LANGUAGES, ORIGINAL
from .release import SmokeStep, parse_step

_NAME = r"[a-z][a-z0-9_-]{0,40}"
_PATH = r"/[^\x00]*"
_ADDRESS = r"https://[^\s@?#]{1,200}"
_HOST = r"[A-Za-z0-9.-]+(?::\d+)?"


LOCATIONS = ("local", "external")
"""where backups are kept: on the server alone, or on the external drive, too"""
BUNDLE_FOLDERS = ("/srv/clms-updates", "/media", "/run/media", "/mnt")
"""Where bundles are looked for unless the school says otherwise: a folder for them, and where drives are mounted."""


@dataclass(frozen=True)
class Volume:
    """A volume of a service."""

    name: str
    path: str
    """where the container sees it"""
    on_update: str
    """``copy``: slotted, a rollback returns to the old content; ``share``: both versions use it (log files);
    ``empty``: a cache, flushed at every switch"""


@dataclass(frozen=True)
class Service:
    """One service of CLMS: one container."""

    name: str
    role: str
    """``database``, ``application`` or ``cache``"""
    image: str | None
    """for a service whose image does not come with releases (the database): by digest, or an image id"""
    order: int
    """services start in this order and stop in the opposite one"""
    env_file: str | None
    environment: dict[str, str]
    """settings that are not secret"""
    volumes: tuple[Volume, ...]
    mounts: dict[str, str]
    """path on the server -> path in the container, read-only: runtime configuration, certificates"""
    stop_grace: int
    """seconds between SIGTERM and SIGKILL"""
    egress: bool
    """may reach other hosts, once the slot is open"""
    restart: str
    """restart policy in normal operation"""


@dataclass(frozen=True)
class Database:
    """The database service and how to talk to it."""

    service: str
    name: str
    credentials_file: str
    """option file with a ``[client]`` section for the administrative account, mode 0600"""
    url_variable: str
    """variable of the application's environment that holds the database URL"""
    port: int


@dataclass(frozen=True)
class GatePort:
    """A port that the gate owns."""

    listen: int
    service: str
    port: int
    mode: str
    """``http`` or ``tcp``"""


@dataclass(frozen=True)
class Gate:
    """The HAProxy in front of CLMS."""

    container: str
    image: str
    address: str
    """address of this server on which the gate listens"""
    ports: tuple[GatePort, ...]
    certificate_file: str | None
    """PEM with certificate and key; without it the gate speaks plain HTTP"""
    drain_seconds: int
    """how long requests in flight may take to finish"""


@dataclass(frozen=True)
class Trust:
    """Where releases come from and whom this school believes."""

    url: str
    """base address of the release server, ``https://…``"""
    root_file: str
    """the pinned TUF root; it and the roots that follow it name all keys that count"""
    ca_file: str | None
    pins: tuple[str, ...]
    """keys that the release server may have, at least two or none; see :func:`.https.pin_of`"""
    api_key_file: str | None
    """this school's API key at the release server, mode 0600; without it nothing is reported"""
    report_key_file: str | None
    """Ed25519 key (PEM, mode 0600) that signs the reports"""
    channel: str


@dataclass(frozen=True)
class BackupPlace:
    """Where backups go and to whom they are encrypted."""

    path: str
    external_path: str | None
    maximum: int
    images: bool
    """whether the running images are kept in the backup folder"""
    host_key_file: str
    """age identity of this server, mode 0600"""
    recovery_recipient: str
    """age recipient whose identity is only on the recovery sheet"""
    signing_key_file: str
    """Ed25519 key (PEM, mode 0600) that signs the manifests"""

    def copied_to(self, location: str | None) -> str | None:
        """Where a second copy goes, or None.

        :param location: one of :data:`LOCATIONS`; None is the external drive where there is one
        :raises ClmsError: BACKUP_LOCATION for the external drive where the settings name none
        """
        if location == "external" and self.external_path is None:
            raise ClmsError("BACKUP_LOCATION")
        return None if location == "local" else self.external_path


@dataclass(frozen=True)
class School:
    """A school; see the module's text."""

    title: str
    project: str
    """prefix of every container, network and volume"""
    home: Path
    """folder of the journal, the trusted metadata and the runs"""
    services: tuple[Service, ...]
    database: Database
    entry_service: str
    """the service that users reach; smoke steps go there"""
    gate: Gate
    trust: Trust
    registry: str
    """host and port of the image registry"""
    registry_credentials_file: str | None
    registry_ca_file: str | None
    build_arguments: dict[str, str]
    """what releases that are built here may ask for: name -> value"""
    backup: BackupPlace
    smoke_credentials_file: str
    smoke_steps: tuple[SmokeStep, ...]
    """the school's own steps, after the release's"""
    rehearse: bool
    """whether an update is rehearsed on the restored backup; where not, the new version is tested with the steps
    that write after CLMS was closed"""
    bundle_folders: tuple[str, ...]
    """where files of the vendor with a release are looked for, USB drives among them"""
    bundle_servers: tuple[str, ...]
    """folders of file servers where they are looked for too, ``https://…``"""
    bundle_ca_file: str | None
    """who certifies these servers; the system's authorities where it is not given"""
    contact: str | None
    """who is to be asked when something is wrong, as people are told: a name, and how to reach them"""
    notify_file: str | None
    """secret file with the addresses that are told what happens, one in a line, as Apprise writes them"""
    notify_language: str
    """in which they are told, a key of :data:`.maintenance_texts.LANGUAGES`"""
    upload_folder: Path
    """where the page puts files of the vendor that people upload; made by the agent"""
    agent_socket: Path
    """where the agent of this server listens, if there is one"""
    schedule: Schedule
    reserve_bytes: int
    """space that stays free on every mount, whatever an update needs"""
    raw: dict[str, Any] = field(repr=False, compare=False)

    def service(self, name: str) -> Service:
        """The service called ``name``."""
        return next(service for service in self.services if service.name == name)

    def by_role(self, role: str) -> list[Service]:
        """The services of a role, in starting order."""
        return [service for service in self.services if service.role == role]

    @property
    def application(self) -> list[Service]:
        """All services but the database, in starting order."""
        return [service for service in self.services if service.role != "database"]


def _volume(fields: Fields) -> Volume:
    volume = Volume(
        name=fields.text("name", pattern=_NAME),
        path=fields.text("path", pattern=_PATH),
        on_update=fields.text("on_update", pattern="copy|share|empty", default="copy"),
    )
    fields.done()
    return volume


def _texts(fields: Fields, name: str) -> dict[str, str]:
    return {str(key): str(value) for key, value in fields.get(name, dict, {}).items()}


def _service(fields: Fields, position: int) -> Service:
    role = fields.text("role", pattern="database|application|cache", default="application")
    service = Service(
        name=fields.text("name", pattern=_NAME),
        role=role,
        image=fields.text("image", pattern=r"(?:[^\s@]+@)?sha256:[0-9a-f]{64}", limit=300, default=None),
        order=fields.number("order", default=position),
        env_file=fields.text("env_file", pattern=_PATH, default=None),
        environment=_texts(fields, "environment"),
        volumes=tuple(_volume(volume) for volume in fields.each("volumes", [])),
        mounts=_texts(fields, "mounts"),
        # a database that is killed must not be copied, so it gets the time it needs
        stop_grace=fields.number("stop_grace", low=1, high=3600, default=300 if role == "database" else 30),
        egress=fields.get("egress", bool, False),
        restart=fields.text("restart", pattern="no|always|unless-stopped|on-failure", default="always"),
    )
    fields.done()
    return service


def _gate(fields: Fields, project: str) -> Gate:
    ports = []
    for port in fields.each("ports"):
        ports.append(
            GatePort(
                listen=port.number("listen", low=1, high=65_535),
                service=port.text("service", pattern=_NAME),
                port=port.number("port", low=1, high=65_535),
                mode=port.text("mode", pattern="http|tcp", default="http"),
            )
        )
        port.done()
    gate = Gate(
        container=f"{project}-gate",
        image=fields.text("image", limit=300),
        address=fields.text("address", pattern=r"[0-9a-f.:]+", default="0.0.0.0"),  # noqa: S104 - users come from the network
        ports=tuple(ports),
        certificate_file=fields.text("certificate_file", pattern=_PATH, default=None),
        drain_seconds=fields.number("drain_seconds", low=1, high=600, default=30),
    )
    fields.done()
    return gate


def _trust(fields: Fields) -> Trust:
    trust = Trust(
        url=fields.text("url", pattern=r"https://[^\s]+").rstrip("/"),
        root_file=fields.text("root_file", pattern=_PATH),
        ca_file=fields.text("ca_file", pattern=_PATH, default=None),
        pins=tuple(fields.texts("pins", pattern=r"[A-Za-z0-9+/]{43}=", default=[])),
        api_key_file=fields.text("api_key_file", pattern=_PATH, default=None),
        report_key_file=fields.text("report_key_file", pattern=_PATH, default=None),
        channel=fields.text("channel", pattern=_NAME, default="stable"),
    )
    fields.done()
    if (trust.api_key_file is None) != (trust.report_key_file is None):
        raise FieldError(f"{fields.where('api_key_file')} and report_key_file go together")
    if len(trust.pins) == 1:
        raise FieldError(f"{fields.where('pins')} needs a second key, for the day on which the first one is lost")
    return trust


def _backup(fields: Fields) -> BackupPlace:
    place = BackupPlace(
        path=fields.text("path", pattern=_PATH),
        external_path=fields.text("external_path", pattern=_PATH, default=None),
        maximum=fields.number("maximum", low=2, high=1000, default=5),
        images=fields.get("images", bool, True),
        host_key_file=fields.text("host_key_file", pattern=_PATH),
        recovery_recipient=fields.text("recovery_recipient", pattern="age1[a-z0-9]{20,}"),
        signing_key_file=fields.text("signing_key_file", pattern=_PATH),
    )
    fields.done()
    return place


def parse_school(data: object) -> School:
    """Read a school's description (the variables without their prefix ``clms_``).

    :raises ClmsError: SCHOOL_INCOMPLETE, with the first field that is missing or wrong
    """
    try:
        fields = Fields(data)
        project = fields.text("project", pattern=_NAME, default="clms")
        services = tuple(
            sorted((_service(s, i) for i, s in enumerate(fields.each("services"))), key=lambda service: service.order)
        )
        database = fields.sub("database")
        school = School(
            title=fields.text("title", limit=200),
            project=project,
            home=Path(fields.text("home", pattern=_PATH)),
            services=services,
            database=Database(
                service=database.text("service", pattern=_NAME),
                name=database.text("name", pattern=r"[A-Za-z0-9_]+", limit=64),
                credentials_file=database.text("credentials_file", pattern=_PATH),
                url_variable=database.text("url_variable", pattern=r"[A-Z][A-Z0-9_]*", default="DATABASE_URL"),
                port=database.number("port", low=1, high=65_535, default=3306),
            ),
            entry_service=fields.text("entry_service", pattern=_NAME),
            gate=_gate(fields.sub("gate"), project),
            trust=_trust(fields.sub("trust")),
            registry=fields.text("registry", pattern=_HOST),
            registry_credentials_file=fields.text("registry_credentials_file", pattern=_PATH, default=None),
            registry_ca_file=fields.text("registry_ca_file", pattern=_PATH, default=None),
            build_arguments=_texts(fields, "build_arguments"),
            backup=_backup(fields.sub("backup")),
            smoke_credentials_file=fields.text("smoke_credentials_file", pattern=_PATH),
            smoke_steps=tuple(parse_step(step) for step in fields.each("smoke_steps", [])),
            rehearse=fields.get("rehearse", bool, True),
            bundle_folders=tuple(fields.texts("bundle_folders", pattern=_PATH, default=list(BUNDLE_FOLDERS))),
            bundle_servers=tuple(fields.texts("bundle_servers", pattern=_ADDRESS, default=[])),
            bundle_ca_file=fields.text("bundle_ca_file", pattern=_PATH, default=None),
            contact=fields.text("contact", pattern=r"[^\x00-\x1f\x7f]+", limit=200, default=None),
            notify_file=fields.text("notify_file", pattern=_PATH, default=None),
            notify_language=fields.text("notify_language", pattern="|".join(LANGUAGES), default=ORIGINAL),
            upload_folder=Path(fields.text("upload_folder", pattern=_PATH, default="/var/lib/clms-update-uploads")),
            agent_socket=Path(
                fields.text("agent_socket", pattern=_PATH, default="/run/clms-update/agent.sock", limit=107)
            ),
            schedule=parse_schedule(fields.sub("schedule", {})),
            reserve_bytes=fields.number("reserve_bytes", default=512 * 1024 * 1024),
            raw=data,  # type: ignore[arg-type]
        )
        database.done()
        fields.done()
        _check_references(school)
        return school
    except FieldError as error:
        raise ClmsError("SCHOOL_INCOMPLETE", detail=f"clms_{error}") from None


def _check_references(school: School) -> None:
    """:raises FieldError: when the parts of the description do not fit together."""
    names = [service.name for service in school.services]
    if len(set(names)) != len(names):
        raise FieldError("services has two services of the same name")
    databases = [service.name for service in school.by_role("database")]
    if databases != [school.database.service]:
        raise FieldError("services must have exactly one service with role database, the one that database names")
    named = [("entry_service", school.entry_service), *(("gate.ports", port.service) for port in school.gate.ports)]
    for place, name in named:
        if name not in names:
            raise FieldError(f"{place} names the service {name!r}, which services does not have")
    if any(volume.on_update != "copy" for volume in school.service(school.database.service).volumes):
        raise FieldError("services must have on_update copy for the volumes of the database")
    volumes = [volume.name for service in school.services for volume in service.volumes if volume.on_update != "share"]
    if len(set(volumes)) != len(volumes):
        raise FieldError("services uses a volume twice; only volumes with on_update share may be used twice")
    if len({port.listen for port in school.gate.ports}) != len(school.gate.ports):
        raise FieldError("gate.ports has a port twice")
    if not any(port.mode == "http" for port in school.gate.ports):
        raise FieldError("gate.ports needs a port with mode http")
