# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of the sample CLMS, good and broken, and what the vendor says about each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INITIAL = "0001_initial"
EVENTS = "0002_locations_and_events"
GROUPS = "0003_grade_group"


@dataclass(frozen=True)
class SampleRelease:
    """One release: which files go into its images, and what is signed about it."""

    version: str
    sequence: int
    changelog: str
    migrations: tuple[str, ...]
    """the files in ``backend/migrations`` that its backend brings: those of older releases, then its own"""
    backend: tuple[str, ...]
    """folders in ``backend/overlays`` laid over the common code, in this order"""
    frontend: tuple[str, ...] = ()
    """folders in ``frontend/overlays``"""
    migrates: bool = True
    """whether the release declares a migration"""
    migration_seconds: int = 600
    """after which its migration counts as hanging"""
    min_version: str | None = None
    breaking: tuple[str, ...] = ()
    built: tuple[str, ...] = ()
    """services that schools build from source"""
    channel: str = "stable"
    estimated_minutes: int = 3

    @property
    def health_path(self) -> str:
        """Where its backend says whether it is well."""
        return "/health" if self.backend[0] == "schema1" else "/api/health"

    @property
    def student_field(self) -> str:
        """The field of a student that 1.1.0 renamed."""
        return "grade_group" if "schema3" in self.backend else "grade_category"

    @property
    def health(self) -> dict[str, dict[str, Any]]:
        """When each service counts as healthy."""
        return {
            "backend": {"path": self.health_path, "port": 3001, "timeoutSeconds": 60},
            "frontend": {"path": "/", "port": 3000, "timeoutSeconds": 60},
        }

    @property
    def migration(self) -> dict[str, Any] | str:
        """How the database is brought to this release."""
        if not self.migrates:
            return "none"
        return {
            "service": "backend",
            "command": ["clms-migrate", "deploy"],
            "from": EVENTS if GROUPS in self.migrations else INITIAL,
            "to": self.migrations[-1],
            "timeoutSeconds": self.migration_seconds,
        }

    @property
    def smoke(self) -> list[dict[str, Any]]:
        """The smoke test, sent to the frontend as a browser would."""
        student = {
            "student_id": "${unique}",
            "first_name": "Smoke",
            "last_name": "Test",
            "grade_level": "Grade 7",
            self.student_field: "JUNIOR_HIGH",
        }
        book = {
            "accession_no": "${unique}",
            "title": "Smoke test",
            "author": "CLMS",
            "category": "Test",
            "total_copies": 1,
            "available_copies": 1,
        }
        credentials = {"username": "${username}", "password": "${password}"}
        checkout = {"student_id": "${student_row}", "book_id": "${book_row}"}
        return [
            _step("login", "POST", "/api/auth/login", credentials, 200, {"token": "data.accessToken"}),
            _step("student", "POST", "/api/students", student, 201, {"student_row": "data.id"}, writes=True),
            _step("book", "POST", "/api/books", book, 201, {"book_row": "data.id"}, writes=True),
            _step("checkout", "POST", "/api/borrows", checkout, 201, {"borrow_row": "data.id"}, writes=True),
            _step("return", "PUT", "/api/borrows/${borrow_row}/return", None, 200, {}, writes=True),
            _step("students", "GET", "/api/students?limit=5"),
            _step("books", "GET", "/api/books?limit=5"),
            _step("borrows", "GET", "/api/borrows?limit=5"),
        ]

    @property
    def smoke_clean_up(self) -> list[str]:
        """What undoes the smoke steps that write, for schools that skip the rehearsal."""
        events = [] if "schema1" in self.backend else ["DELETE FROM borrow_events WHERE borrow_id = ${borrow_row}"]
        return [
            *events,
            "DELETE FROM borrows WHERE id = ${borrow_row}",
            "DELETE FROM books WHERE id = ${book_row}",
            "DELETE FROM students WHERE id = ${student_row}",
            "DELETE FROM audit_log WHERE username = ${username}",
        ]


def _step(
    name: str,
    method: str,
    path: str,
    json: dict[str, Any] | None = None,
    status: int = 200,
    save: dict[str, str] | None = None,
    *,
    writes: bool = False,
) -> dict[str, Any]:
    step: dict[str, Any] = {"name": name, "method": method, "path": path, "status": [status], "writes": writes}
    if json is not None:
        step["json"] = json
    if save:
        step["save"] = save
    return step


def _broken(
    name: str,
    sequence: int,
    *,
    backend: str = "",
    frontend: str = "",
    migration: str = "",
    migration_seconds: int = 600,
) -> SampleRelease:
    """A release that is 1.0.1 with one mistake; it can be tried on 1.0.0 and on 1.0.1."""
    return SampleRelease(
        version=f"1.0.9-{name}",
        sequence=sequence,
        changelog=f"## 1.0.9-{name}\n- For tests only: this release is broken on purpose.\n",
        migrations=(INITIAL, EVENTS, *([migration] if migration else [])),
        backend=("schema2", *([backend] if backend else [])),
        frontend=(frontend,) if frontend else (),
        migration_seconds=migration_seconds,
        min_version="1.0.0",
        channel="test",
    )


_ALL = (
    SampleRelease(
        version="1.0.0",
        sequence=1,
        changelog="## 1.0.0\n- The first release: students, books, borrowing and returning.\n",
        migrations=(INITIAL,),
        backend=("schema1",),
    ),
    SampleRelease(
        version="1.0.1",
        sequence=2,
        changelog="## 1.0.1\n- Books have a location code.\n- Each borrow has a history of who handled it.\n"
        "- The health check notices when the database is gone.\n",
        migrations=(INITIAL, EVENTS),
        backend=("schema2",),
        min_version="1.0.0",
    ),
    SampleRelease(
        version="1.0.2",
        sequence=3,
        changelog="## 1.0.2\n- The search page says how many books it found.\n"
        "- A percent sign in the search box finds titles with a percent sign.\n",
        migrations=(INITIAL, EVENTS),
        backend=("schema2", "search-escaped"),
        frontend=("result-count",),
        migrates=False,
        min_version="1.0.1",
        estimated_minutes=1,
    ),
    SampleRelease(
        version="1.0.3",
        sequence=4,
        changelog="## 1.0.3\n- The page knows the address of the API of its school.\n",
        migrations=(INITIAL, EVENTS),
        backend=("schema2", "search-escaped"),
        frontend=("result-count",),
        built=("frontend",),
        min_version="1.0.0",
    ),
    SampleRelease(
        version="1.1.0",
        sequence=5,
        changelog="## 1.1.0\n- \"Grade category\" is called \"grade group\".\n- Titles may have 500 characters.\n"
        "- A table of school holidays.\n",
        migrations=(INITIAL, EVENTS, GROUPS),
        backend=("schema2", "schema3", "search-escaped"),
        frontend=("result-count",),
        min_version="1.0.1",
        breaking=("Students have the field `grade_group` in place of `grade_category`; programs that use the API"
                  " must follow.",),
    ),
    _broken("dies", 101, backend="dies"),
    _broken("nocheckout", 102, backend="nocheckout"),
    _broken("frontend", 103, frontend="dev-server"),
    _broken("fifthstatement", 104, migration="0009_reading_lists"),
    _broken("baddata", 105, migration="0009_label_batches"),
    _broken("hangs", 106, migration="0009_wait_for_nobody", migration_seconds=20),
)  # fmt: skip
RELEASES = {release.version: release for release in _ALL}
