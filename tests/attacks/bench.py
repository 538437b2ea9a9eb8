# SPDX-License-Identifier: GPL-3.0-or-later
"""The school that is attacked: what it does, and what it is judged by from outside."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.errors import CATALOGUE
from ansible_collections.clms.update.plugins.module_utils.plan import events_of
from ansible_collections.clms.update.plugins.module_utils.school import School as Described
from ansible_collections.clms.update.plugins.module_utils.school import parse_school
from tests.e2e.observe import School, wait_for
from tests.stand.stand import Finished, Stand

from .desk import Desk

SCHOOL = "linden"
CHAIN = ("1.0.0", "1.0.1", "1.0.2", "1.1.0")
"""releases that can be installed one over the other"""
_BELIEVED = ("trust", "trust-offline", "bundles")
_ONLINE = ("trust/metadata/timestamp.json", "trust/metadata/snapshot.json")


class Bench:
    """One school of a stand, and the vendor whose part an attacker plays."""

    def __init__(self, stand: Stand, engine: Engine, folder: Path, *, inputs: int, seed: int) -> None:
        """:param folder: for what an attacker prepares

        :param inputs: how many all fuzz cases try together
        :param seed: of the fuzz cases
        """
        self.stand = stand
        self.engine = engine
        self.folder = folder
        self.school = School(stand, SCHOOL, "demo", engine)
        self.inputs = inputs
        self.seed = seed
        self._served = stand.vendor / "releases/repository"
        self._aside = self._served.with_name("repository.real")
        self._stack = ExitStack()
        self._row = ExitStack()
        self._standing: Any = None
        self._undo_serving()

    # what an attacker has

    def desk(self) -> Desk:
        """A copy of the release manager's desk: what is forged there never becomes the vendor's."""
        folder = Path(tempfile.mkdtemp(prefix="clms-desk-"))  # short: gpg's agent has a socket in there
        desk = Desk.copied(self.stand.release_manager, folder)
        self._stack.callback(desk.remove)
        return desk

    @contextmanager
    def serving(self, folder: Path) -> Iterator[None]:
        """The release server serves another repository for a while."""
        new = self._served.with_name("repository.new")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(folder, new)
        for path in (new, *new.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        self._served.rename(self._aside)
        new.rename(self._served)
        try:
            yield
        finally:
            self._undo_serving()

    def _undo_serving(self) -> None:
        if self._aside.exists():
            shutil.rmtree(self._served, ignore_errors=True)
            self._aside.rename(self._served)

    @property
    def served(self) -> Path:
        """The folder that the release server serves."""
        return self._served

    @property
    def tls(self) -> Path:
        """Folder with the vendor's authority, and the certificate of its servers."""
        return self.stand.vendor / "tls"

    @property
    def address(self) -> str:
        """Where the vendor's servers listen."""
        return str(self.stand.settings["vendor"]["address"])

    @property
    def url(self) -> str:
        """The release server's address."""
        return f"https://{self.stand.settings['vendor']['releases']}"

    @property
    def uploads(self) -> Path:
        """Where the page puts what people bring."""
        return Path(self.school.description()["clms_upload_folder"])

    def described(self) -> Described:
        """The description of the school, as the product reads it."""
        return parse_school({name.removeprefix("clms_"): value for name, value in self.school.description().items()})

    @contextmanager
    def trusting(self, **changes: Any) -> Iterator[None]:
        """Another ``clms_trust`` for a while; None leaves a key out."""
        trust = {**self.school.description()["clms_trust"], **changes}
        with self.school.described(clms_trust={name: value for name, value in trust.items() if value is not None}):
            yield

    def forget_news(self) -> None:
        """The school asks again for all that it has verified, but for roots."""
        for path in (self.school.home / "trust/metadata").glob("*.json"):
            if path.name != "root.json":
                path.unlink()

    def forget_files(self) -> None:
        """The school asks again for the files that its list names."""
        shutil.rmtree(self.school.home / "trust/targets", ignore_errors=True)

    # what the school does

    def check(self) -> Finished:
        """Ask for news."""
        return self.school.clms_update("check", "--json")

    def check_works(self, latest: str = CHAIN[-1]) -> dict[str, Any]:
        """News can be had."""
        done = self.check()
        assert done.code == 0, done.output + done.errors
        answer = done.json()
        assert answer["latestVersion"] == latest, answer
        return answer

    def refused(self, code: str | tuple[str, ...], *arguments: str, says: str = "", moves: str = "") -> str:
        """A command is refused: a code, what happened, what to do, and nothing has changed.

        :param says: a word that has to be read
        :param moves: what may become known on the way: ``online``, what the online key signs, or ``signed``, a list of
            releases that the vendor has signed
        :returns: what happened
        """
        codes = (code,) if isinstance(code, str) else code
        runs = self.runs()
        with self.unchanged(moves=moves):
            done = self.school.clms_update(*arguments, "--json")
        assert "Traceback" not in done.output + done.errors, done.errors[-2000:]
        assert done.code in (1, 2), done.output + done.errors
        answer = done.json()
        if "error" in answer:
            error = answer["error"]
            assert self.runs() == runs, "a run was recorded"
            settings = ("SERVER_ADDRESS", "SCHOOL_INCOMPLETE")  # that cannot be used are no refusal of anything
            if arguments[0] in ("check", "import") and error["code"] not in settings:
                kind = "CHECK_REFUSED" if arguments[0] == "check" else "FILE_REFUSED"
                assert self._newest_event() == (kind, f"{error['message']} {error['remedy']}"), (
                    "there is no audit entry"
                )
        else:  # a run
            error = {"code": answer["error_code"], **{name: answer[name] for name in ("message", "remedy")}}
            assert (answer["status"], answer["outcome"] in ("REFUSED", "ABORTED")) == ("FAILED", True), answer
            assert self.runs() == runs + 1, f"{self.runs() - runs} runs were recorded"
            with self.school.journal() as journal:
                failed = events_of(journal.run(answer["id"]).row.kind).failed
            assert self.events_of(answer["id"]).count(failed) == 1, self.events_of(answer["id"])
        assert error["code"] in codes, f"{error['code']} instead of {' or '.join(codes)}: {error['message']}"
        assert error["code"] in CATALOGUE
        assert error["message"].endswith("."), error
        assert len(error["remedy"]) > 10, error
        assert says.lower() in error["message"].lower(), f"{says!r} is not in {error['message']!r}"
        return str(error["message"])

    def runs(self) -> int:
        """How many runs the journal has."""
        with self.school.journal() as journal:
            rows = journal.rows(limit=1)
            return rows[0].id if rows else 0

    def _newest_event(self) -> tuple[str, str]:
        """Kind and text of the newest event."""
        with self.school.journal() as journal:
            (event,) = journal.events(limit=1)
            return event["type"], event["message"]

    def events_of(self, run: int) -> list[str]:
        """The kinds of the events of a run."""
        with self.school.journal() as journal:
            return [event["type"] for event in journal.events(limit=500) if event["run"] == run]

    def next_version(self) -> str:
        """The release after the one that runs; where there is none, the school goes back first."""
        (version,) = self.school.versions()
        if version == CHAIN[-1]:
            previous = self.school.last_run()["from_version"]
            done = self.school.clms_update("rollback", "--confirm", str(previous), "--json")
            assert done.code == 0, done.output
            (version,) = self.school.versions()
        return CHAIN[CHAIN.index(version) + 1]

    def updates_to(self, version: str, result: Any, *, command: tuple[str, ...] = ()) -> dict[str, Any]:
        """The school updates while people work; nothing that they have done is lost.

        :param result: gets what became of their writes
        """
        folder = Path(tempfile.mkdtemp(prefix="writes-", dir=self.folder))
        with self.school.writing(folder) as written:
            done = self.school.clms_update(*(command or ("update", "--version", version)), "--json")
            assert done.code == 0, done.output + done.errors
            written.wait_acknowledged()
        assert written.judgement is not None
        result.acknowledged, result.lost = written.judgement.acknowledged, written.judgement.lost
        result.invented = written.judgement.invented + written.judgement.duplicates
        written.assert_nothing_lost()
        self.school.assert_serves(version)
        answer: dict[str, Any] = done.json()
        assert answer["status"] == "COMPLETED", answer
        return answer

    # what is judged

    def believed(self) -> dict[str, str]:
        """Path -> hash of all that the school has verified and kept."""
        found = {}
        for name in _BELIEVED:
            for path in sorted((self.school.home / name).rglob("*")):
                if path.is_file() and path.name not in ("refreshed", ".lock", "looked-at.json"):
                    found[str(path.relative_to(self.school.home))] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    @contextmanager
    def unchanged(self, *, moves: str = "") -> Iterator[None]:
        """Containers, data and what is believed are as before; see :meth:`refused` for ``moves``."""
        before, picture, rows = self.believed(), self.school.picture(), self.school.rows()
        with self.school.journal() as journal:
            slots = journal.slots("previous")
        previous = {slot.network for slot in slots} | {name for slot in slots for name in slot.volumes.values()}
        previous |= {service.container for slot in slots for service in slot.services.values()}
        yield
        now = self.school.picture()
        assert now.names <= picture.names, f"there is more: {sorted(now.names - picture.names)}"
        # a run that comes past its preflight frees the slot before the one that serves
        assert picture.names - now.names <= previous, f"there is less: {sorted(picture.names - now.names)}"
        for name, found in now.containers.items():
            assert found == picture.containers[name], f"{name} is not as it was"
        assert self.school.rows() == rows
        assert self.school.page() == 200
        assert self.school.stray() == frozenset()
        after = self.believed()
        changed = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
        allowed = {"": (), "online": _ONLINE, "signed": (*_ONLINE, "trust/metadata/targets.json", "trust/targets/")}
        surprising = [name for name in changed if not name.startswith(allowed[moves])]
        assert not surprising, f"what is believed has changed: {surprising}"

    def assert_nothing_left(self) -> None:
        """Staging places are empty, and CLMS serves."""
        home = self.school.home
        left = [
            str(path.relative_to(home))
            for name in (*_BELIEVED, "downloads")
            for path in (home / name).rglob("*")
            if path.name.endswith((".part", ".partial", ".new")) or (path.name.startswith(".") and path.name != ".lock")
        ]
        left += [str(path) for folder in (home / "bundles/fetched", self.uploads) for path in folder.glob("*")]
        assert not left, f"left over: {left}"
        assert self.school.page() == 200
        assert self.school.stray() == frozenset()

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Afterwards the vendor serves what it had signed, and the school believes what it believed before."""
        kept = Path(tempfile.mkdtemp(prefix="believed-", dir=self.folder))
        for name in _BELIEVED:
            if (self.school.home / name).exists():
                shutil.copytree(self.school.home / name, kept / name, symlinks=True)
        try:
            yield
        finally:
            self._undo_serving()
            for name in (*_BELIEVED, "downloads"):
                shutil.rmtree(self.school.home / name, ignore_errors=True)
                if (kept / name).exists():
                    shutil.copytree(kept / name, self.school.home / name, symlinks=True)
                    (self.school.home / name).chmod(0o700)
            for folder in (self.school.folder / "updates", self.uploads):
                for path in folder.glob("*"):
                    path.unlink()

    # the vendor's server

    def restart_api(self) -> None:
        """Its counters begin anew."""
        process = self.stand.release_api_process()
        if process is not None:
            os.kill(process, signal.SIGTERM)
            wait_for(lambda: not Path(f"/proc/{process}").exists(), seconds=60, what="the end of the release server")
        self.stand.start_release_api()

    @cached_property
    def special(self) -> Any:
        """See :class:`.special.Special`."""
        from .special import Special

        return Special(self)

    def for_this_row(self, make: Callable[[], AbstractContextManager[Any]]) -> Any:
        """What all cases of a row of the threat table use; the first of them makes it."""
        if self._standing is None:
            self._standing = self._row.enter_context(make())
        return self._standing

    def end_row(self) -> None:
        """What the cases of a row have used goes away."""
        self._standing = None
        self._row.close()

    def at_the_end(self, action: Callable[[], object]) -> None:
        """Do something when everything was tried."""
        self._stack.callback(action)

    def close(self) -> None:
        """Remove what an attacker has prepared."""
        self.end_row()
        self._stack.close()
        self.engine.client.close()
