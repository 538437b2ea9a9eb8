# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that do not work: the school stays on, or returns to, the version it had.

Scenarios 3 and 6 of the original design, section 9.3, and what else can be wrong with a release. A school that
rehearses is not even closed; one that does not is put back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.observe import Picture, School
from tests.sample_clms.releases import INITIAL

# release, code where it is rehearsed, code where it is not, a word of the cause
BROKEN = [
    pytest.param("1.0.9-dies", "REHEARSAL_SMOKE", "HEALTH_FAILED", "backend", id="dies at its start"),
    pytest.param("1.0.9-nocheckout", "REHEARSAL_SMOKE", "SMOKE_FAILED", "checkout", id="healthy but lends nothing"),
    pytest.param("1.0.9-frontend", "REHEARSAL_SMOKE", "HEALTH_FAILED", "frontend", id="only the frontend fails"),
    pytest.param(
        "1.0.9-fifthstatement",
        "REHEARSAL_MIGRATION",
        "MIGRATION_FAILED",
        "failed at statement 5",
        id="migration fails half way",
    ),
    pytest.param("1.0.9-baddata", "REHEARSAL_MIGRATION", "MIGRATION_FAILED", "accession_no", id="fails on this data"),
    pytest.param("1.0.9-hangs", "REHEARSAL_MIGRATION", "MIGRATION_FAILED", "20 seconds", id="migration hangs"),
]


@pytest.fixture(scope="module")
def school(school_named: Callable[[str], School]) -> School:
    school = school_named("alder")
    school.query(
        "INSERT IGNORE INTO books (accession_no, title, shelf) VALUES ('BAD-DATA', 'A book with a damaged label', '')"
    )
    return school


def assert_old_version(school: School, before: Picture, kept: frozenset[str]) -> None:
    """The very containers of before serve, nothing is missing, and nothing new is there but what is kept.

    :param kept: what was kept before; it may be gone
    """
    after = school.picture()
    assert after.serving == before.serving
    assert after.names - school.kept() - kept == before.names - kept
    school.assert_serves("1.0.0")
    assert school.schema() == [INITIAL]
    assert school.version_row() == "1.0.0"


@pytest.mark.parametrize(("version", "rehearsed", "_", "word"), BROKEN)
def test_rehearsed(school: School, tmp_path: Path, version: str, rehearsed: str, _: str, word: str) -> None:
    """The school learns of it without having been closed."""
    before, seeded, kept = school.picture(), school.seeded(), school.kept()
    with school.writing(tmp_path) as written:
        done = school.clms_update("update", "--version", version, "--json")
        written.wait_acknowledged()
    assert done.code == 1, done.output + done.errors
    run = done.json()
    assert (run["outcome"], run["status"], run["error_code"]) == ("ABORTED", "FAILED", rehearsed)
    assert (run["failed_phase"], run["closed_seconds"]) == ("rehearse", None)
    assert word in run["message"]
    assert run["remedy"]
    assert "Traceback" not in done.output + done.errors
    written.assert_nothing_lost()
    assert (written.counts["refused"], written.counts["unknown"]) == (0, 0)
    # not even restarted
    assert school.picture().containers == before.containers
    assert_old_version(school, before, kept)
    assert school.seeded() == seeded


@pytest.mark.parametrize(("version", "_", "unrehearsed", "word"), BROKEN)
def test_not_rehearsed(school: School, tmp_path: Path, version: str, _: str, unrehearsed: str, word: str) -> None:
    """It is noticed only when CLMS is closed, and everything is put back."""
    before, seeded, kept = school.picture(), school.seeded(), school.kept()
    with school.described(clms_rehearse=False), school.writing(tmp_path) as written:
        done = school.clms_update("update", "--version", version, "--json")
        written.wait_acknowledged()
    assert done.code == 1, done.output + done.errors
    run = done.json()
    assert (run["outcome"], run["status"], run["error_code"]) == ("ROLLED_BACK", "ROLLED_BACK", unrehearsed)
    assert word in run["message"]
    assert run["remedy"]
    assert run["closed_seconds"] > 0
    assert "Traceback" not in done.output + done.errors
    written.assert_nothing_lost()
    assert written.counts["refused"] > 0
    assert_old_version(school, before, kept)
    assert school.seeded() == seeded
    print(f"{version}: closed for {run['closed_seconds']} s")


def test_data_of_a_failed_migration_is_kept_until_the_next_run(school: School) -> None:
    kept = school.kept()
    assert kept & school.picture().volumes
    done = school.clms_update("update", "--version", "1.0.9-nocheckout", "--json")
    assert done.json()["outcome"] == "ABORTED"
    assert school.kept() == frozenset()
    assert not kept & school.picture().volumes


def test_failing_update_through_ansible(school: School) -> None:
    """ansible-playbook ends with an error, and says what happened in words."""
    done = school.playbook("update", "-e", "clms_version=1.0.9-fifthstatement", "-e", "clms_rehearse=false")
    assert done.code == 2, done.output
    assert "MIGRATION_FAILED" in done.output
    assert "ROLLED_BACK" in done.output
    assert "Traceback" not in done.output + done.errors
    assert (school.last_run()["outcome"], school.last_run()["error_code"]) == ("ROLLED_BACK", "MIGRATION_FAILED")
    school.assert_serves("1.0.0")
