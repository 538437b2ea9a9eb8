# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page costs: at rest, and while many browsers watch an update."""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import requests

from .measure import Runs, add, memory_mb
from .ours import SCHOOL, Baseline, BenchError, Ours

BROWSERS = 50
_LEAST_NEWS = 10
"""as many phases as an update has, at least"""
_LOOKS = 10
_CALM = 1.0
_GONE = 15.0
"""seconds after which the page has noticed that browsers are gone: the first sign of life that it sends to one that is
gone, every 5 s, is still taken by the network, the second one is not"""
_PAUSE = 0.5
"""seconds between two requests for the overview"""


def page(ours: Ours, runs: int, say: Callable[[str], None]) -> Runs:
    """The page and the agent at rest; then updates from 1.0.0 to 1.0.1 which 50 browsers watch."""
    start = ours.baseline("before-watching")
    found: Runs = {}
    with _served(ours) as (url, session):
        for _ in range(_LOOKS):
            time.sleep(_CALM)
            add(found, "page_and_agent_memory_mb", sum(memory_mb(process) for process in _processes(ours)))
        for number in range(runs):
            with _watchers(url, session) as heard:
                began, used = time.monotonic(), _cpu_seconds(ours)
                _update(ours, start)
                seconds, used = time.monotonic() - began, _cpu_seconds(ours) - used
                if min(heard) < _LEAST_NEWS:
                    raise BenchError(f"A browser that watched heard only {min(heard)} times of the update.")
                add(found, "watching_percent", 100 * used / seconds)
                # those who ask for whole pages are no watchers
                with _asking(url, session) as answers:
                    _update(ours, start)
            for answer in answers:
                add(found, "page_seconds", answer)
            say(
                f"run {number + 1}: {used:.2f} s of {seconds:.1f} s for {BROWSERS} browsers; each heard at least"
                f" {min(heard)} times; {len(answers)} pages"
            )
    ours.reset(start)
    ours.start()
    return found


def _update(ours: Ours, start: Baseline) -> None:
    ours.reset(start)
    ours.start()
    run = ours.update("1.0.1")
    if run.outcome != "COMPLETED":
        raise BenchError(f"The update that was watched ended as {run.outcome}.")


@contextmanager
def _served(ours: Ours) -> Iterator[tuple[str, requests.Session]]:
    """The address of the page, and somebody who is signed in."""
    ours.stand.start_agent(SCHOOL)
    shown = ours.stand.page(SCHOOL)
    try:
        shown.start()
        with requests.Session() as session:
            session.trust_env, session.verify = False, str(shown.certificate)
            _sign_in(shown.url, session, shown.login())
            yield shown.url, session
    finally:
        shown.stop()
        ours.stand.stop_agent(SCHOOL)


def _sign_in(url: str, session: requests.Session, login: dict[str, str]) -> None:
    form = session.get(f"{url}/sign-in", timeout=10).text
    token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', form)
    fields = {"name": login["username"], "password": login["password"], "csrf_token": token[1] if token else ""}
    answer = session.post(f"{url}/sign-in", data=fields, headers={"Referer": f"{url}/sign-in"}, timeout=10)
    if "Overview" not in answer.text:
        raise BenchError("Nobody could sign in to the page.")


@contextmanager
def _watchers(url: str, session: requests.Session) -> Iterator[list[int]]:
    """How often each of the browsers has heard of something new; to the page they are the one that has signed in."""
    heard = [0] * BROWSERS
    address = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is about what the server does

    over = threading.Event()
    early: list[str] = []

    def listen(number: int, connection: ssl.SSLSocket) -> None:
        last = b""
        with suppress(OSError):
            while chunk := connection.recv(65536):
                heard[number] += chunk.count(b"data: ")
                last = chunk
        if not over.is_set():
            early.append(last[-200:].decode(errors="replace"))

    with ExitStack() as stack:
        for number in range(BROWSERS):
            plain = socket.create_connection((address.hostname or "", address.port or 0), 10)
            connection = context.wrap_socket(plain)
            connection.settimeout(None)
            connection.sendall(
                f"GET /progress/stream HTTP/1.1\r\nHost: {address.netloc}\r\n"
                f"User-Agent: {session.headers['User-Agent']}\r\n"
                f"Cookie: __Host-clms-update={session.cookies['__Host-clms-update']}\r\n\r\n".encode()
            )
            thread = threading.Thread(target=listen, args=(number, connection), daemon=True)
            thread.start()
            stack.callback(_end, connection)
        deadline = time.monotonic() + 30
        while min(heard) == 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        yield heard
        over.set()
    time.sleep(_GONE)
    if early:
        raise BenchError(f"{len(early)} browsers that watched were sent away; one after: {early[0]}")


def _end(connection: ssl.SSLSocket) -> None:
    with connection, suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def _asking(url: str, session: requests.Session) -> Iterator[list[float]]:
    """How long the overview has taken, each time that somebody asked for it."""
    seconds: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(_PAUSE):
            began = time.monotonic()
            session.get(url, timeout=30).raise_for_status()
            seconds.append(time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seconds
    finally:
        over.set()
        thread.join()


def _processes(ours: Ours) -> list[int]:
    found = [ours.stand.page(SCHOOL).process(), ours.stand.agent_process(SCHOOL)]
    if None in found:
        raise BenchError("The page or the agent has ended.")
    return [process for process in found if process is not None]


def _cpu_seconds(ours: Ours) -> float:
    """Processor time of the page, and of the agent that it asks; what does the update is a process of its own."""
    page, agent = _processes(ours)
    return _with_children(page) + _alone(agent)


def _with_children(process: int) -> float:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return _alone(process) + sum(_with_children(int(child)) for child in children)


def _alone(process: int) -> float:
    """Processor time of a process; see proc(5)."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
