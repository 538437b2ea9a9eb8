# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's socket: who may ask, and what is answered; without a school behind it."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

from agent import accounts as accounts_module
from agent import config, protocol, runs
from agent.accounts import Accounts
from agent.agent import Agent
from agent.executor import Job
from agent.planner import Planner
from agent.protocol import Request
from agent.service import Server
from ansible_collections.clms.update.plugins.module_utils import agent_client
from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation, is_installed
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run

CLIENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(sys.argv[2].encode() + bytes([10]))
    print(connection.makefile().readline())
"""


PASSWORD = "blue whale in the attic"


class FakeAgent:
    """Answers what it is told to, and keeps a job until the test ends it."""

    def __init__(self) -> None:
        self.job = Job(runs.Order("backup"))
        self.begun: list[Request] = []
        self.as_root: list[bool] = []
        self.fails: Exception | None = None

    def answer(self, request: Request, *, as_root: bool) -> dict[str, Any]:
        if self.fails:
            raise self.fails
        return {"verb": request.verb}

    def begin(self, request: Request, *, as_root: bool) -> Job:
        self.begun.append(request)
        self.as_root.append(as_root)
        return self.job


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def serve(agent: FakeAgent) -> Iterator[Callable[..., Path]]:
    """Starts a server in a folder that everybody can enter; gives its socket."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)

        def start(group: int | None = None) -> Path:
            path = folder / "agent.sock"
            server = stack.enter_context(Server(path, agent, group))  # type: ignore[arg-type]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return path

        yield start


def ask(path: Path, request: dict[str, Any]) -> Any:
    conversation = Conversation(path, request)
    try:
        return conversation.wait(10)
    finally:
        conversation.close()


def as_nobody(path: Path, *groups: int, **request: Any) -> dict[str, Any]:
    """What the agent answers to a process of the user ``nobody``."""
    line = json.dumps(request or {"verb": "status"})
    done = subprocess.run(
        ["/usr/bin/python3", "-c", CLIENT, str(path), line],
        cwd="/", user="nobody", group="nogroup", extra_groups=groups, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_its_socket_is_for_root_and_the_group(serve: Callable[..., Path]) -> None:
    path = serve(grp.getgrnam("nogroup").gr_gid)
    found = path.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o660, 0, grp.getgrnam("nogroup").gr_gid)


def test_it_is_gone_at_the_end(agent: FakeAgent, tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with Server(path, agent, None):  # type: ignore[arg-type]
        assert is_installed(path)
    assert not is_installed(path)


def test_root_is_answered(serve: Callable[..., Path]) -> None:
    assert ask(serve(), {"verb": "status"}) == {"verb": "status"}


@pytest.mark.parametrize("member", [True, False])
def test_others_have_to_be_in_the_group(serve: Callable[..., Path], member: bool) -> None:
    group = grp.getgrnam("nogroup" if member else "daemon").gr_gid
    path = serve(group)
    path.chmod(0o666)  # somebody has spoilt its mode: the caller is looked at all the same
    said = as_nobody(path)
    assert said["ok"] is member
    if not member:
        assert said["error"]["code"] == "AGENT_CALLER"


def test_without_a_group_it_is_for_root_only(serve: Callable[..., Path]) -> None:
    path = serve()
    path.chmod(0o666)
    assert as_nobody(path)["error"]["code"] == "AGENT_CALLER"


def test_the_agent_is_told_whether_root_asks(serve: Callable[..., Path], agent: FakeAgent) -> None:
    path = serve(grp.getgrnam("nogroup").gr_gid)
    conversation = Conversation(path, {"verb": "rollback"})
    assert conversation.wait(10) == {"begun": "rollback"}
    conversation.close()
    assert as_nobody(path, verb="rollback")["ok"]
    assert agent.as_root == [True, False]


class NoExecutor:
    """Begins nothing."""

    def begin(self, order: runs.Order) -> str:
        return order.kind


@pytest.mark.parametrize("verb", sorted({*protocol.GUARDED} & {*protocol.RUNS}))
def test_going_back_takes_a_password_unless_root_asks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The page has no power of its own, also when somebody has taken it over."""
    monkeypatch.setattr(accounts_module, "PasswordHasher", lambda: PasswordHasher.from_parameters(CHEAPEST))
    accounts = Accounts(tmp_path)
    accounts.set_password("anna", PASSWORD)
    agent = Agent(folder, NoExecutor(), None, accounts, None)  # type: ignore[arg-type]
    assert agent.begin(Request(verb), as_root=True) == verb  # type: ignore[comparison-overlap]
    for request in (Request(verb), Request(verb, name="anna", password="wrong"), Request(verb, name="bert")):
        with pytest.raises(ClmsError) as caught:
            agent.begin(request, as_root=False)
        assert caught.value.code == "SIGN_IN_REFUSED"
    for _ in range(6):  # whoever guesses on the page for signing in takes this from nobody
        with pytest.raises(ClmsError):
            accounts.sign_in("anna", "wrong")
    good = Request(verb, name="anna", password=PASSWORD)
    assert agent.begin(good, as_root=False) == verb  # type: ignore[comparison-overlap]
    assert "password" not in str(good.variables)


def test_so_do_settings(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts_module, "PasswordHasher", lambda: PasswordHasher.from_parameters(CHEAPEST))
    home = config.load(folder).school.home
    Journal(home, create=True).close()
    accounts = Accounts(tmp_path)
    accounts.set_password("anna", PASSWORD)
    planner = Planner(folder, NoExecutor())  # type: ignore[arg-type]
    told: list[bool] = []
    planner.rules_changed = lambda: told.append(True)
    agent = Agent(folder, NoExecutor(), planner, accounts, None)  # type: ignore[arg-type]
    for request in (Request("change", settings={"tonight": "23:00"}, name="anna", password="wrong"), Request("change")):
        with pytest.raises(ClmsError) as caught:
            agent.answer(request)
        assert caught.value.code == "SIGN_IN_REFUSED"
    assert (agent.answer(Request("settings"))["settings"]["tonight"], told) == ("22:00", [])
    good = Request("change", settings={"tonight": "23:00"}, name="anna", password=PASSWORD)
    assert agent.answer(good) == {"changed": ["tonight"]}
    assert (agent.answer(Request("settings"))["settings"]["tonight"], told) == ("23:00", [True])
    event = agent.answer(Request("events"))["events"][0]
    assert (event["type"], event["message"]) == ("SETTINGS_CHANGED", "These settings were changed by anna: tonight.")
    assert agent.answer(Request("change", settings={"tonight": "23:00"}), as_root=True) == {"changed": []}


def test_everything_else_takes_none(folder: Path, tmp_path: Path) -> None:
    agent = Agent(folder, NoExecutor(), None, Accounts(tmp_path), None)  # type: ignore[arg-type]
    for verb in set(protocol.RUNS) - set(protocol.GUARDED):
        assert agent.begin(Request(verb), as_root=False) == verb  # type: ignore[comparison-overlap]


def test_a_refusal_keeps_its_words(serve: Callable[..., Path], agent: FakeAgent) -> None:
    agent.fails = ClmsError("RELEASE_UNKNOWN", version="9.9.9")
    with pytest.raises(ClmsError) as caught:
        ask(serve(), {"verb": "status"})
    assert caught.value.as_dict() == agent.fails.as_dict()  # type: ignore[attr-defined]


def test_what_breaks_is_told_and_ends_nothing(serve: Callable[..., Path], agent: FakeAgent) -> None:
    path = serve()
    agent.fails = ZeroDivisionError("x")
    with pytest.raises(ClmsError) as caught:
        ask(path, {"verb": "status"})
    assert caught.value.code == "INTERNAL"
    agent.fails = None
    assert ask(path, {"verb": "status"}) == {"verb": "status"}


def test_a_run_is_answered_twice(serve: Callable[..., Path], agent: FakeAgent) -> None:
    conversation = Conversation(serve(), {"verb": "backup"})
    assert conversation.wait(10) == {"begun": "backup"}
    assert conversation.wait(0.1) is None
    agent.job.run, agent.job.exit_code = {"id": 7}, 1
    agent.job.ended.set()
    assert conversation.wait(10) == {"run": {"id": 7}, "exit_code": 1}
    conversation.close()


def test_nobody_has_to_listen_to_the_end(serve: Callable[..., Path], agent: FakeAgent) -> None:
    path = serve()
    conversation = Conversation(path, {"verb": "backup"})
    assert conversation.wait(10) == {"begun": "backup"}
    conversation.close()
    agent.job.ended.set()
    assert ask(path, {"verb": "status"}) == {"verb": "status"}


def test_an_agent_that_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with pytest.raises(ClmsError) as caught:
        Conversation(path, {"verb": "status"})
    assert caught.value.code == "AGENT_SILENT"
    assert "systemctl start clms-update-agent" in caught.value.remedy
    assert os.path.exists(path)  # noqa: PTH110 - a socket


def test_an_agent_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_client, "_TAKEN_SECONDS", 1)
    path = tmp_path / "agent.sock"
    errors: list[ClmsError] = []

    def ask_in_vain() -> None:
        with pytest.raises(ClmsError) as caught, contextlib.closing(Conversation(path, {"verb": "status"})):
            Conversation(path, {"verb": "status"})
        errors.append(caught.value)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(0)
        asking = threading.Thread(target=ask_in_vain, daemon=True)
        asking.start()
        asking.join(20)
    assert [error.code for error in errors] == ["AGENT_SILENT"]
    assert "it has not taken the request within 1 seconds" in errors[0].happened


def test_an_agent_that_is_busy_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listening, contextlib.closing(socket.socket(socket.AF_UNIX)) as other:
        listening.bind(str(path))
        listening.listen(0)
        other.connect(str(path))
        timer = threading.Timer(0.3, lambda: listening.accept()[0].close())
        timer.start()
        Conversation(path, {"verb": "status"}).close()
        timer.join()


def test_what_cannot_be_cancelled(folder: Path, tmp_path: Path, begin: Callable[..., Run]) -> None:
    """Nobody is told of steps and playbooks: there is no such run, or it is too late."""
    run = begin()
    asked = Agent(folder, NoExecutor(), None, Accounts(tmp_path), None)  # type: ignore[arg-type]
    assert asked.answer(Request("cancel", run=run.id)) == {"run": run.id}
    assert run.cancelled()
    run.close("ABORTED")
    codes = []
    for number in (run.id, 99):
        with pytest.raises(ClmsError) as caught:
            asked.answer(Request("cancel", run=number))
        codes.append(caught.value.code)
    assert codes == ["RUN_CLOSED", "RUN_UNKNOWN"]


def test_keys_of_requests_are_kept_at_home(
    folder: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir(exist_ok=True)
    monkeypatch.setattr(accounts_module, "PasswordHasher", lambda: PasswordHasher.from_parameters(CHEAPEST))
    accounts = Accounts(tmp_path)
    accounts.set_password("anna", PASSWORD)
    asked = Agent(folder, NoExecutor(), None, accounts, None)  # type: ignore[arg-type]
    with pytest.raises(ClmsError) as caught:  # of names that nobody has, there would be no end
        asked.answer(Request("once", name="bert", key="k", body="0" * 64))
    assert (caught.value.code, (home / "once.db").exists()) == ("ACCOUNT_UNKNOWN", False)
    request = {"name": "anna", "key": "k", "body": "0" * 64}
    assert asked.answer(Request("once", **request)) == {"answer": None}
    asked.answer(Request("once", answer='{"success": true}', **request))
    assert asked.answer(Request("once", **request)) == {"answer": {"success": True}}
    assert (home / "once.db").exists()
