# SPDX-License-Identifier: GPL-3.0-or-later
"""The space that is set aside for putting a run back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils import journal_run as journal_module
from ansible_collections.clms.update.plugins.module_utils import reserve
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.run import Context

Begin = Callable[..., Context]


def test_it_occupies_the_disk_until_it_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        reserve.set_aside(tmp_path)
        (file,) = tmp_path.iterdir()
        assert file.stat().st_blocks * 512 >= reserve.BYTES
        assert file.stat().st_mode & 0o777 == 0o600
    reserve.give_back(tmp_path)
    reserve.give_back(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_goes_round_in_circles_ends(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_MOST_RECORDS", 40)
    context = begin(phase="slot")
    while len(context.journal.records(context.run.id)) < 40:
        context.note("again")
    with pytest.raises(ClmsError) as caught:
        context.note("again")
    assert caught.value.code == "RUN_LOOPS"
    assert "(40 records)" in caught.value.happened
    # putting it back has as many again
    for _ in range(40):
        context.run.record("rollback", "serve_old", "note")
    with pytest.raises(ClmsError, match="80 records"):
        context.run.record("rollback", "serve_old", "note")
