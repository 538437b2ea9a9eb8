# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module ends without a library, and with an error."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import module_end
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError


class Ended(Exception):
    """In place of the end of the process."""


class FakeModule:
    """Keeps what it ends with."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}

    def fail_json(self, **said: Any) -> None:
        self.said = said
        raise Ended


def test_an_error_is_for_people_and_programs() -> None:
    module, error = FakeModule(), ClmsError("TRUST_REFUSED", detail="x")
    with pytest.raises(Ended):
        module_end.fail(module, error)  # type: ignore[arg-type]
    assert module.said == {"msg": error.happened, "code": "TRUST_REFUSED", "remedy": error.remedy}


@pytest.mark.parametrize("missing", [None, *module_end._LIBRARIES])
def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, missing: str | None) -> None:
    there = {name for library, name in module_end._LIBRARIES.items() if library != missing}
    monkeypatch.setattr(module_end, "find_spec", lambda name: name if name in there else None)
    module = FakeModule()
    if missing is None:
        module_end.require_libraries(module)  # type: ignore[arg-type]
        assert module.said == {}
        return
    with pytest.raises(Ended):
        module_end.require_libraries(module)  # type: ignore[arg-type]
    assert missing in module.said["msg"]
