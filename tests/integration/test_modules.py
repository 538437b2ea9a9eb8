# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules through Ansible, at a school that runs: check mode, for real, check mode again, for real again."""

from __future__ import annotations

import json
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import docker
import pytest

from tests.stand.stand import Stand

SCHOOL = "linden"

Result = dict[str, Any]


class Steps(NamedTuple):
    """What a module returned in the four steps."""

    check: Result
    run: Result
    check_again: Result
    run_again: Result

    @property
    def changed(self) -> tuple[bool, ...]:
        """``changed`` of each step."""
        return tuple(result["changed"] for result in self)

    @property
    def codes(self) -> set[str | None]:
        """The error codes of all steps."""
        return {result.get("code") for result in self}


Run = Callable[..., Steps]

READS = (False, False, False, False)
CHANGES = (True, True, False, False)


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    folder = Path(tempfile.mkdtemp(prefix="clms-modules-"))
    try:
        stand = Stand.create(
            folder, prefix=f"clms-modules-{secrets.token_hex(3)}", schools=[SCHOOL], backup_images=False
        )
        stand.set_up_vendor()
        stand.publish("1.0.0", "1.0.1")
        stand.set_up_schools()
        yield stand
    finally:
        Stand(folder).remove()


@pytest.fixture
def four_steps(stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a module with its options; ``{{ clms_… }}`` in them are the variables of the school."""

    def run(module: str, **options: Any) -> Steps:
        tasks = [
            {f"clms.update.{module}": options, "check_mode": check, "ignore_errors": True}
            for check in (True, False, True, False)
        ]
        playbook = tmp_path / "four_steps.yml"
        play = {
            "hosts": "schools",
            "gather_facts": False,
            "roles": [{"role": "clms.update.description"}],
            "tasks": tasks,
        }
        playbook.write_text(json.dumps([play]))
        monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "ansible.posix.json")
        done = stand.command("ansible-playbook", "-i", "inventories/demo", playbook)
        results = [task["hosts"][SCHOOL] for task in done.json()["plays"][0]["tasks"]]
        # the first one is the check of the role's arguments
        return Steps(*results[-4:])

    return run


def containers(engine: docker.DockerClient, stand: Stand) -> dict[str, tuple[str, str, frozenset[str]]]:
    """The containers of the school: name -> identity, status and networks."""
    found = engine.containers.list(all=True, filters={"label": f"clms.project={stand.prefix}-{SCHOOL}"})
    return {
        str(container.name): (
            str(container.id),
            container.status,
            frozenset(container.attrs["NetworkSettings"]["Networks"]),
        )
        for container in found
    }


@pytest.fixture
def untouched(engine: docker.DockerClient, stand: Stand) -> Iterator[None]:
    """The test makes, stops, removes and connects no container."""
    before = containers(engine, stand)
    assert len(before) == 4
    yield
    assert containers(engine, stand) == before


@pytest.mark.usefixtures("untouched")
def test_gate_that_is_there(four_steps: Run, stand: Stand) -> None:
    steps = four_steps("gate", school="{{ clms_description }}")
    assert steps.changed == READS
    assert steps.run["container"] == f"{stand.prefix}-{SCHOOL}-gate"


def test_gate_goes_and_comes_back(four_steps: Run, stand: Stand, engine: docker.DockerClient) -> None:
    gate = f"{stand.prefix}-{SCHOOL}-gate"
    before = containers(engine, stand)

    assert four_steps("gate", school="{{ clms_description }}", state="absent").changed == CHANGES
    assert containers(engine, stand).keys() == before.keys() - {gate}

    assert four_steps("gate", school="{{ clms_description }}").changed == CHANGES
    after = containers(engine, stand)
    assert {name: rest[1:] for name, rest in after.items()} == {name: rest[1:] for name, rest in before.items()}
    # it stands in front of the slot that served before, and does not have to be told which
    stand.command("curl", "--silent", "--fail", "--noproxy", "*", f"{stand.url(SCHOOL)}/health")


def test_gate_that_is_to_be_another(four_steps: Run, stand: Stand, engine: docker.DockerClient) -> None:
    """Another title and another address: the pages are taken up as they are, the address needs a new container."""
    before = containers(engine, stand)
    gate = f"{stand.prefix}-{SCHOOL}-gate"

    renamed = "{{ clms_description | combine({'title': 'Maple School'}) }}"
    steps = four_steps("gate", school=renamed)
    assert steps.changed == CHANGES
    assert steps.check["differences"] == steps.run["differences"]
    assert "maintenance.html is outdated instead of up to date" in steps.run["differences"]
    assert containers(engine, stand) == before

    other = "{{ clms_description | combine({'gate': {'address': '127.0.0.2'}}, recursive=True) }}"
    steps = four_steps("gate", school=other)
    assert steps.changed == CHANGES
    assert "address is 127.0.0.1 instead of 127.0.0.2" in steps.check["differences"]
    assert containers(engine, stand)[gate][0] != before[gate][0]
    stand.command("curl", "--silent", "--fail", "--noproxy", "*", stand.url(SCHOOL).replace("127.0.0.1", "127.0.0.2"))

    assert four_steps("gate", school="{{ clms_description }}").changed == CHANGES
    stand.command("curl", "--silent", "--fail", "--noproxy", "*", f"{stand.url(SCHOOL)}/health")


@pytest.mark.usefixtures("untouched")
def test_status(four_steps: Run) -> None:
    steps = four_steps("status", home="{{ clms_home }}")
    assert steps.changed == READS
    assert (steps.run["current_version"], steps.run["running"], steps.run["backups"]) == ("1.0.0", None, 0)
    assert (steps.run["last_update"]["kind"], steps.run["last_update"]["status"]) == ("install", "COMPLETED")


def test_status_where_nothing_is_installed(four_steps: Run, tmp_path: Path) -> None:
    steps = four_steps("status", home=str(tmp_path / "nowhere"))
    assert steps.changed == READS
    assert steps.run["current_version"] is None
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.usefixtures("untouched")
def test_check(four_steps: Run) -> None:
    steps = four_steps("check", school="{{ clms_description }}")
    assert steps.changed == READS
    assert [result["latestVersion"] for result in steps] == ["1.0.1"] * 4
    assert steps.run["updateInfo"]["version"] == "1.0.1"


def test_check_of_an_incomplete_description(four_steps: Run) -> None:
    steps = four_steps("check", school={"title": "Linden School"})
    assert steps.codes == {"SCHOOL_INCOMPLETE"}
    assert all(result["failed"] and result["msg"] and result["remedy"] for result in steps)


def test_registry_info(four_steps: Run) -> None:
    login = {
        "registry": "{{ clms_registry }}",
        "repository": "clms/backend",
        "credentials_file": "{{ clms_registry_credentials_file }}",
        "ca_file": "{{ clms_registry_ca_file }}",
    }
    steps = four_steps("registry_info", **login, reference="sha256:" + "0" * 64)
    assert steps.changed == READS
    assert (steps.run["verified"], steps.run["problem"]["code"]) == (False, "REGISTRY_DIGEST_MISSING")

    image = json.loads(_release(four_steps))["backend"]
    steps = four_steps("registry_info", **login, reference=image.rpartition("@")[2])
    assert steps.changed == READS
    assert (steps.run["verified"], steps.run["problem"]) == (True, None)


def _release(four_steps: Run) -> str:
    """The images of 1.0.1 as JSON."""
    return json.dumps(four_steps("check", school="{{ clms_description }}").run["updateInfo"]["dockerTags"])


@pytest.mark.usefixtures("untouched")
def test_preflight_in_check_mode_opens_no_run(four_steps: Run, stand: Stand) -> None:
    """Only in check mode: outside of it every call opens a run of its own."""
    before = stand.clms_update(SCHOOL, "list", "--history", "--json").json()
    playbook = stand.playbook("update", "--check", "-e", "clms_version=1.0.1")
    assert "failed=0" in playbook.output
    assert stand.clms_update(SCHOOL, "list", "--history", "--json").json() == before

    # the version that runs already: nothing to do, in check mode or not
    steps = four_steps("preflight", school="{{ clms_description }}", version="1.0.0")
    assert steps.changed == READS
    assert [result["phases"] for result in steps] == [[]] * 4
    assert stand.clms_update(SCHOOL, "list", "--history", "--json").json() == before


@pytest.mark.usefixtures("untouched")
def test_check_mode_of_an_installation(stand: Stand, engine: docker.DockerClient, tmp_path: Path) -> None:
    """On a server that has nothing yet, and on one that is set up."""
    project, home = f"{stand.prefix}-empty", tmp_path / "home"
    empty = {"clms_project": project, "clms_home": str(home), "clms_version": "1.0.0"}
    assert "failed=0" in stand.playbook("install", "--check", "-e", json.dumps(empty)).output
    assert not engine.containers.list(all=True, filters={"name": project})
    assert not (home / "journal.db").exists()
    assert "failed=0" in stand.playbook("school", "--check", "-e", "clms_version=1.0.0").output


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", ["image_pull", "commit"])
def test_phase_without_a_run_is_refused(four_steps: Run, name: str) -> None:
    steps = four_steps("phase", name=name, home="{{ clms_home }}", run=1)
    assert {steps.run["code"], steps.run_again["code"]} == {"RUN_NONE"}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("run", [0, 1], ids=["no run", "run that was completed"])
def test_rollback_with_nothing_to_put_back(four_steps: Run, run: int) -> None:
    steps = four_steps("rollback", home="{{ clms_home }}", run=run)
    assert steps.changed == READS
    assert steps.run["outcome"] == ("COMPLETED" if run else "REFUSED")


@pytest.mark.usefixtures("untouched")
def test_recover_with_nothing_to_recover(four_steps: Run) -> None:
    steps = four_steps("recover", home="{{ clms_home }}")
    assert steps.changed == READS
    assert steps.run["outcome"] is None


def test_recover_puts_an_interrupted_run_back(
    four_steps: Run, stand: Stand, engine: docker.DockerClient, tmp_path: Path
) -> None:
    before = containers(engine, stand)
    # its playbook ends after the preflight, as if somebody had pulled the plug; nothing was touched yet
    playbook = tmp_path / "only_preflight.yml"
    roles = [{"role": "clms.update.preflight", "vars": {"clms_version": "1.0.1"}}]
    playbook.write_text(json.dumps([{"hosts": "schools", "gather_facts": False, "roles": roles}]))
    stand.command("ansible-playbook", "-i", "inventories/demo", playbook)
    steps = four_steps("recover", home="{{ clms_home }}")
    assert steps.changed == CHANGES
    assert (steps.run["outcome"], steps.run_again["outcome"]) == ("REFUSED", None)
    assert containers(engine, stand) == before


@pytest.mark.usefixtures("untouched")
def test_hand_over_where_there_is_no_agent(four_steps: Run, tmp_path: Path) -> None:
    steps = four_steps("hand_over", home="{{ clms_home }}", kind="backup", socket=str(tmp_path / "nobody.sock"))
    assert steps.changed == READS
    assert [result["handed"] for result in steps] == [False] * 4


@pytest.mark.usefixtures("untouched")
def test_hand_over_where_the_agent_has_ended(four_steps: Run, tmp_path: Path) -> None:
    """Its runs are not done without it: it was killed, and has to put the school in order first."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    steps = four_steps("hand_over", home="{{ clms_home }}", kind="backup", socket=str(path))
    assert {steps.run["code"], steps.run_again["code"]} == {"AGENT_SILENT"}
    assert (steps.check["handed"], steps.check_again["handed"]) == (False, False)


def test_backup_info(four_steps: Run, stand: Stand, tmp_path: Path) -> None:
    assert four_steps("backup_info", path=str(tmp_path / "nowhere")).run["backups"] == []
    made = stand.clms_update(SCHOOL, "backup", "--json").json()
    steps = four_steps("backup_info", path="{{ clms_backup.path }}")
    assert steps.changed == READS
    (backup,) = steps.run["backups"]
    assert (backup["version"], backup["proven"][-1]) == ("1.0.0", "Z")
    assert backup["id"].endswith(f"-r{made['id']}")
