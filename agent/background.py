# SPDX-License-Identifier: GPL-3.0-or-later
"""Something that is done again and again beside everything else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.clms.update.plugins.module_utils.json_log import code_of

log = logging.getLogger("clms-update-agent")


@contextmanager
def repeated(name: str, what: Callable[[], object], *, seconds: float) -> Iterator[None]:
    """Call ``what`` every so many seconds while the body runs.

    A failure ends nothing, and is told once as long as it stays the same: the disk is full, for one, and the next call
    may find more.

    :param name: of the thread
    """
    over = threading.Event()

    def call() -> None:
        said = ""
        while not over.wait(seconds):
            try:
                what()
                said = ""
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                if text != said:
                    log.warning("%s: %s", name, text, extra=code_of(error))
                said = text

    thread = threading.Thread(target=call, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
