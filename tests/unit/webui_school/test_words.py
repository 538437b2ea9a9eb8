# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogues: complete, in step with the code, and no text of the page that is in none of them."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

from agent.doctor import _Patient
from agent.settings import PLACES as SETTINGS_PLACES
from agent.settings import SECRETS
from ansible_collections.clms.update.plugins.module_utils import errors
from ansible_collections.clms.update.plugins.module_utils.errors import CATALOGUE, ClmsError
from ansible_collections.clms.update.plugins.module_utils.finding_texts import FINDINGS
from ansible_collections.clms.update.plugins.module_utils.maintenance_texts import LANGUAGES
from ansible_collections.clms.update.plugins.module_utils.plan import COMPLETED_TEXTS, KINDS, PHASES, events_of
from ansible_collections.clms.update.plugins.module_utils.told import TITLES, TOLD
from setup import words
from webui.school import failures, language, texts
from webui.school.app import create_app
from webui.school.config import parse_settings
from webui.school.own_words import REMEDIES
from webui.school.said import said

from .conftest import PASSWORD, Browser, FakeAgent, check_of, forced, release_of, run_of, running

FOLDERS = words.folders()
MESSAGES = [message for message in words.template() if message.id]
_NAMES = re.compile(r"%\((\w+)\)s|\{(\w+)\}")
_KEPT = re.compile(r"</?\w+>|\b(?:clms-[a-z]+|systemctl|docker|timedatectl|ps|zstd)(?: -*[\w<{}:,.|-]+)+|%%")
"""what stands in every language: tags and commands"""


def forms_of(text: Any) -> tuple[str, ...]:
    """A text, or its singular and plural."""
    return (text,) if isinstance(text, str) else tuple(text)


def names_in(text: Any) -> set[str]:
    return {one or other for form in forms_of(text) for one, other in _NAMES.findall(form)}


# the files


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.parent.name)
def folder(request: pytest.FixtureRequest) -> Path:
    """That of each language."""
    found: Path = request.param
    return found


def test_german_is_there() -> None:
    assert "de" in {folder.parent.name for folder in FOLDERS}


def test_everything_is_translated(folder: Path) -> None:
    catalogue = words.read(folder / "messages.po")
    assert not catalogue.obsolete
    for message in catalogue:
        assert not message.fuzzy or not message.id, message.id
        assert all(forms_of(message.string)), f"not translated: {message.id}"
    assert {message.id for message in catalogue} == {message.id for message in words.template()}, "run 'make words'"


def test_the_files_are_what_make_words_writes(folder: Path) -> None:
    template, catalogue = words.template(), words.updated(folder, words.template())
    assert (language.TRANSLATIONS / "messages.pot").read_bytes() == words.written(template), "run 'make words'"
    assert (folder / "messages.po").read_bytes() == words.written(catalogue), "run 'make words'"
    assert (folder / "messages.mo").read_bytes() == words.compiled(catalogue), "run 'make words'"


def test_the_pages_of_the_gate_call_phases_what_this_page_calls_them(folder: Path) -> None:
    """They are Python, because modules are sent to schools without catalogues."""
    catalogue = words.read(folder / "messages.po")
    shown = LANGUAGES[folder.parent.name].phases
    assert {name: shown[name] for name in PHASES} == {name: catalogue.get(PHASES[name].text).string for name in PHASES}


def test_each_translation_names_what_the_original_names(folder: Path) -> None:
    for message in words.read(folder / "messages.po"):
        if not message.id:
            continue
        for form in forms_of(message.string):
            assert names_in(form) == names_in(message.id), form
            assert not re.search(r"%(?!\(\w+\)s)", form.replace("%%", "")), form


def test_each_translation_keeps_tags_and_commands(folder: Path) -> None:
    for message in words.read(folder / "messages.po"):
        for one, other in zip(forms_of(message.id), forms_of(message.string), strict=False):
            for kept in _KEPT.findall(one):
                assert kept.rstrip(".,") in other, (kept, other)


def test_a_new_text_is_added_and_an_old_one_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "de/LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "messages.po").write_text('msgid "Old"\nmsgstr "Alt"\n\nmsgid "Kept"\nmsgstr "Geblieben"\n')
    code = Catalog()
    code.add("Kept")
    code.add("New")
    catalogue = read_po(BytesIO(words.written(words.updated(folder, code))), locale="de")
    assert {message.id: message.string for message in catalogue if message.id} == {"Kept": "Geblieben", "New": ""}


# the tables of the page


def test_every_error_that_the_page_can_meet_is_in_the_catalogue() -> None:
    known = {message.id for message in MESSAGES}
    for code in words.page_codes():
        assert {CATALOGUE[code].happened, REMEDIES.get(code, CATALOGUE[code].remedy)} <= known
    assert failures.STATUSES.keys() <= set(words.page_codes())


def test_every_kind_of_run_has_a_name_and_an_end() -> None:
    kinds = {kind.removesuffix("_images") for kind in KINDS} | {"recover"}
    assert kinds == texts.KINDS.keys() == COMPLETED_TEXTS.keys()


def test_everything_that_is_looked_at_has_a_title() -> None:
    assert _Patient(None).checks().keys() == texts.CHECKS.keys()  # type: ignore[arg-type]


def test_every_setting_has_a_name() -> None:
    assert {*SETTINGS_PLACES, *SECRETS} == texts.SETTINGS.keys()


def test_every_type_of_event_has_a_title() -> None:
    found = {event for kind in KINDS for event in events_of(kind) if event is not None} | {*TITLES}
    for call in _calls():
        found |= set(_types(call))
    assert len(found) > 20
    # they are told with the code of what has failed
    assert found | {"BACKUP_TAMPERED", "NOTIFY_FAILED", "NOTIFY_NOBODY"} == texts.EVENTS.keys()


def test_what_is_told_is_a_sentence_of_the_table_with_all_that_it_names() -> None:
    """A name that is missing would be noticed when the event happens, and not before."""
    found = {code for code in TOLD if code.startswith("COMPLETED_")}
    for call in _calls():
        place = {"told": 0, "_tell": 2}.get(_name_of(call))
        if place is None or len(call.args) <= place or not (code := _constant(call.args[place])):
            continue
        found.add(code)
        named = {keyword.arg for keyword in call.keywords} | ({"update"} if place else set())
        assert None in named or names_in(TOLD[code]) <= named, code
    assert found == TOLD.keys()


def _calls() -> Iterator[ast.Call]:
    """What the agent and the collection call."""
    root = Path(errors.__file__).parents[1]
    for path in (*root.rglob("*.py"), *Path("agent").resolve().rglob("*.py")):
        yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def _name_of(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _constant(node: ast.expr) -> str:
    """A text in capitals, or nothing."""
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return text if text.isupper() else ""


def _types(call: ast.Call) -> Iterator[str]:
    """The types in a call that records an event."""
    place = {"tell": 1, "_tell": 0, "event": 0, "event_once": 0, "event_anew": 0}.get(_name_of(call))
    if place is not None and len(call.args) > place and (kind := _constant(call.args[place])):
        yield kind


# a language that consists of the marks around each text


MARKS = "⟦⟧"
DATA = (
    *("Linden School", "anna", "Frau Vogt, room 12", "Europe/Berlin", "A faster search", "and more", "A" * 40),
    *(
        "The menu is on the left",
        "clms-1.0.1-amd64.zip",
        "clms-1.0.2-amd64.zip",
        "mon-fri 07:30-17:00",
        "UTC",
        "English",
        "Deutsch",
    ),
)
_IDENTITY = re.compile(r"\b20[0-9]{6}T[0-9]{6}Z-[0-9.]+-r[0-9]+\b")


class Visible(HTMLParser):
    """What people see or hear of a page, and is not marked as another language or as code."""

    ATTRIBUTES = ("alt", "aria-label", "placeholder", "title")
    VOID = ("input", "link", "meta", "br", "img")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._skip: list[bool] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        for name, value in attrs:
            says = name in self.ATTRIBUTES or (name.startswith("data-") and " " in (value or ""))
            if says or (name == "value" and named.get("type") == "submit"):
                self.pieces.append(value or "")
        if tag not in self.VOID:
            own = tag in ("script", "style", "code", "textarea") or (tag != "html" and "lang" in named)
            zone = tag == "option" and "/" in (named.get("value") or "")
            self._skip.append(own or zone or (bool(self._skip) and self._skip[-1]))

    def handle_endtag(self, tag: str) -> None:
        self._skip.pop()

    def handle_data(self, data: str) -> None:
        if not (self._skip and self._skip[-1]):
            self.pieces.append(data)


def unmarked(page: str) -> str:
    """The words of a page that no catalogue knows."""
    outside, depth = [], 0
    for letter in "\n".join(Visible(page).pieces):
        depth += {"⟦": 1, "⟧": -1}.get(letter, 0)
        if not depth and letter not in MARKS:
            outside.append(letter)
    assert depth == 0
    text = _IDENTITY.sub("", "".join(outside))
    for data in DATA:
        text = text.replace(data, "")
    # the language that is spoken is named by the form in which another one is chosen
    return " ".join(word for word in text.split() if re.search(r"[A-Za-zÀ-ž]", word) and word != "Esperanto")


@pytest.fixture
def marked(agent: FakeAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """A browser of somebody who is signed in and reads the marked language."""
    folder = tmp_path / "translations/eo/LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "messages.mo").write_bytes(words.compiled(_marked(words.updated(folder, words.template()))))
    monkeypatch.setattr(language, "TRANSLATIONS", tmp_path / "translations")
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(b"k" * 32)
    app = create_app(parse_settings({"hosts": ["school.test"], "secret_key_file": str(secret)}), agent)
    browser = Browser(app.test_client())
    browser.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = "eo"
    return browser


def _marked(catalogue: Catalog) -> Catalog:
    message: Message
    for message in catalogue:
        if message.id:
            forms = tuple(f"⟦{form}⟧" for form in forms_of(message.id))
            message.string = forms if len(forms) > 1 else forms[0]
    return catalogue


BACKUP = "20261124T101112Z-1.0.0-r1"
PLANNED = [
    {"id": 3, "due_at": "2026-11-27T21:00:00Z", "version": "1.0.1", "state": "SCHEDULED"},
    {"id": 4, "due_at": "2026-11-27T21:00:00Z", "version": None, "state": "SCHEDULED"},
]
FILES = [{"version": "1.0.1", "size": 812_000_000, "file": "clms-1.0.1-amd64.zip", "created": "2026-11-24T10:11:12Z"}]
FAILED = run_of(
    id=9, status="FAILED", outcome="ABORTED", error_code="RUN_CANCELLED", message="…", remedy="…",
    failed_phase="backup", error_values={"kind": "update", "run": "9"},
)  # fmt: skip
CLOSED = run_of(
    id=10, status="ROLLED_BACK", outcome="ROLLED_BACK", error_code="SMOKE_FAILED", message="The new version …",
    remedy="CLMS was put back …", failed_phase="health_check", error_values={"detail": "login answered 500"},
)  # fmt: skip
OLDER = run_of(id=11, status="FAILED", outcome="REFUSED", error_code="SMOKE_FAILED", message="It was.", remedy="Do.")
RUNS = [CLOSED, FAILED, OLDER, *(run_of(id=20 + n, kind=kind) for n, kind in enumerate(texts.KINDS)), run_of()]
PLACES = (
    "/", "/release/1.0.1", "/schedule/1.0.1", "/progress", "/progress?since={now}", "/history",
    "/history?kind=rollback",
    *(f"/history/{run['id']}" for run in RUNS), "/events", "/backups", "/files", f"/backups/{BACKUP}/restore",
    "/rollback", "/password", "/health", "/settings",
)  # fmt: skip


def states(agent: FakeAgent) -> Iterator[str]:
    """The same pages with other things on them."""
    agent.runs = RUNS
    yield "much has been done"
    agent.planned, agent.files, agent.external_backup = PLANNED, FILES, True
    agent.settings["secrets"]["notify"] = True
    agent.release = release_of(critical=True, forceAfterDate="2026-12-24T00:00:00Z", migrationNotes=None)
    agent.last = CLOSED | {"kind": "update", "outcome": "COMPLETED", "error_code": None}
    agent.health = [check_of(name, code="DISK_TOO_SMALL", values={"detail": "x"}) for name in texts.CHECKS]
    yield "a critical release"
    agent.release |= {"expected_seconds": None, "file": "clms-1.0.2-amd64.zip"}
    agent.enforcement = {"forced": forced(lifted_until="2026-12-02T20:05:00Z"), "blocked": False}
    agent.health = [
        check_of("journal", finding=name, values={**dict.fromkeys(text.names, "7"), "moment": "2026-11-24T10:11:12Z"})
        for name, text in FINDINGS.items()
    ]
    agent.running = running()
    yield "a forced one"
    agent.release |= {"expected_seconds": 9, "rehearsed": True}
    agent.enforcement = {"forced": forced(overdue=True), "blocked": True}
    agent.running = running(phase="migrate", seconds_left=None, interrupted=True)
    agent.refuses["release"] = ClmsError("SERVER_UNREACHABLE", url="x", detail="no route")
    yield "blocked, and something goes on"
    agent.running, agent.last = None, None
    agent.refuses = {"release": ClmsError("RELEASE_UNKNOWN", version="1.0.1")}
    agent.release["blocked"] = ClmsError("RELEASE_SAME", version="1.0.1").as_dict()
    yield "nothing is known"


def test_there_is_no_text_without_a_translation(marked: Browser, agent: FakeAgent) -> None:
    for path in ("/sign-in", "/set-up"):
        agent.accounts = {"anna": 1} if path == "/sign-in" else {}
        assert unmarked(marked.get(path)) == "", path
        answer = marked.send(path, name="", password="").text
        assert 'class="error"' in answer
        assert unmarked(answer) == "", path
    agent.accounts = {"anna": 1}
    marked.sign_in()
    for state in states(agent):
        for path in PLACES:
            text = marked.look(path.format(now=int(time.time()))).text
            assert '<html lang="eo">' in text
            assert unmarked(text) == "", f"{path}: {state}"


@pytest.mark.parametrize(
    ("verb", "path", "page", "fields"),
    [
        ("check", "/check", "/", {}),
        ("postpone", "/postpone", "/", {}),
        ("cancel", "/schedule/3/cancel", "/", {}),
        ("cancel", "/progress/cancel/8", "/progress", {}),
        ("schedule", "/schedule/1.0.1", None, {"when": "tonight"}),
        ("schedule", "/schedule/1.0.1", None, {"when": "own"}),
        ("schedule", "/schedule/1.0.1", None, {"when": "own", "at": "x"}),
        ("schedule", "/schedule/1.0.1", None, {"when": "at noon"}),
        ("verify", f"/backups/{BACKUP}/verify", "/backups", {}),
        ("copy", f"/backups/{BACKUP}/copy", "/backups", {}),
        ("restore", f"/backups/{BACKUP}/restore", None, {"confirm": "x" * 99, "password": ""}),
        ("restore", f"/backups/{BACKUP}/restore", None, {"confirm": "no", "password": PASSWORD}),
        ("rollback", "/rollback", None, {"confirm": "0.9.0", "password": PASSWORD}),
        ("password", "/password", None, {"password": PASSWORD, "new": "a", "again": "b"}),
        ("password", "/password", None, {"password": PASSWORD, "new": "a", "again": "a"}),
        ("import", "/files", None, {}),
        ("change", "/settings", None, {"check_interval_days": "often", "max_backups": "1", "contact": "x" * 300}),
        ("notify", "/settings/try-notification", "/settings", {}),
        ("check", "/health/check", "/health", {}),
    ],
)
@pytest.mark.parametrize("refused", [False, True])
def test_nor_is_there_one_after_a_form(
    marked: Browser, agent: FakeAgent, verb: str, path: str, page: str | None, fields: dict[str, str], refused: bool
) -> None:
    marked.sign_in()
    agent.settings["secrets"]["notify"] = True
    agent.enforcement = {"forced": forced(), "blocked": False}
    if refused:
        agent.refuses[verb] = ClmsError("SCHEDULE_TWICE", schedule=3, at="…")
    answer = marked.send(path, page=page, **fields)
    assert unmarked(answer.text if answer.status_code != 302 else marked.get(page or "/")) == ""


@pytest.mark.parametrize("code", words.page_codes())
def test_every_error_is_said_in_the_language_of_who_reads_it(marked: Browser, agent: FakeAgent, code: str) -> None:
    marked.sign_in()
    error = ClmsError(code, **dict.fromkeys(CATALOGUE[code].names, "7"))
    with marked.client.application.test_request_context(headers={"Accept-Language": "eo"}):
        assert said(error) == said(ClmsError.from_dict(error.as_dict())) == said(error.as_dict())
        assert unmarked(str(said(error).both)) == ""
    if code != "REQUEST_HOST":  # of another host there is no page
        agent.refuses["status"] = error
        text = marked.client.get("/progress", base_url=marked.base).text
        assert unmarked(text) == ""
        assert "<main" in text


@pytest.mark.parametrize(
    ("page", "words_left"),
    [
        ("<p>⟦Version %s⟧ 1.0.1</p>", ""),
        ("<p>⟦Name⟧: forgotten</p>", "forgotten"),
        ('<button aria-label="Close">⟦x⟧</button>', "Close"),
        ('<p>⟦It was: <span lang="en">full</span>⟧</p><code>X_Y</code>', ""),
    ],
)
def test_what_is_not_marked_is_found(page: str, words_left: str) -> None:
    assert unmarked(page) == words_left
