# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.stand``: ``demo``, ``down`` (what make calls), ``up`` and ``remove`` (any other stand)."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from tests.base_images.docker_cli import BuildError

from .stand import ROOT, Stand, StandError

FOLDER = ROOT / "build" / "demo"
SCHOOL = "linden"


def _prefix() -> str:
    """A prefix of this checkout's own, so that the demos of two checkouts do not meet."""
    return f"clms-demo-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]}"


@contextmanager
def _announced(text: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"{text} …", end="", flush=True)
    yield
    print(f" {time.monotonic() - began:.1f} s", flush=True)


def demo() -> None:
    """Stand up a vendor and a school on 1.0.0, publish 1.0.1 and update the school to it."""
    with _announced("Preparing images and names"):
        stand = Stand.create(FOLDER, prefix=_prefix(), schools=[SCHOOL])
    with _announced("Setting up the vendor: registry, release server, signing keys"):
        stand.set_up_vendor()
        stand.start_release_api()
    with _announced("Publishing CLMS 1.0.0"):
        stand.publish("1.0.0")
    with _announced("Setting up Linden School with CLMS 1.0.0"):
        stand.set_up_schools()
        stand.enrol(SCHOOL)
    with _announced("Filling it: 900 students, 3,000 books, 20,000 loans, some uploads"):
        stand.seed(SCHOOL)
    with _announced("Starting the school's agent and its page"):
        stand.start_agent(SCHOOL)
        page = stand.page(SCHOOL)
        page_login = page.login()
        page.start()
    with _announced("Publishing CLMS 1.0.1, with a migration"):
        stand.publish("1.0.1")
    print("\nUpdating the school:", flush=True)
    # 1.0.1 by name: a second call must find nothing to do, whatever was published since
    stand.clms_update(SCHOOL, "update", "--version", "1.0.1", quiet=False)
    print()
    stand.clms_update(SCHOOL, "status", quiet=False)
    login = stand.librarian(SCHOOL)
    print(f"\nCLMS of Linden School: {stand.url(SCHOOL)}  (sign in as {login['username']}, {login['password']})")
    print(f"Its update page:       {page.url}  (sign in as {page_login['username']}, {page_login['password']};")
    print("                       its certificate was made here, so the browser asks whether to trust it)")
    config = (FOLDER / "schools" / SCHOOL / "etc").relative_to(ROOT)
    print(f"Commands of its server: .venv/bin/clms-update --config {config} status")
    print("All of it goes away with: make demo-down")


def up(options: argparse.Namespace) -> None:
    """Make a stand: its vendor, its releases and its schools, each with a little data."""
    stand = Stand.create(options.folder, prefix=options.prefix, schools=options.schools, backup_images=False)
    stand.set_up_vendor()
    stand.publish(options.version, *options.publish)
    stand.set_up_schools(version=options.version, inventory=options.inventory)
    for school in options.schools:
        stand.seed(school, "--students", "50", "--books", "100", "--loans", "200")


def main() -> int:
    """The command line; the exit code is 0 when it was done."""
    parser = argparse.ArgumentParser(prog="python -m tests.stand", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo")
    commands.add_parser("down")
    making = commands.add_parser("up")
    making.add_argument("--folder", type=Path, required=True)
    making.add_argument("--prefix", required=True)
    making.add_argument("--schools", nargs="+", default=[SCHOOL])
    making.add_argument("--inventory", default="demo", help="folder below inventories/ that names the schools")
    making.add_argument("--version", default="1.0.0", help="installed at the schools")
    making.add_argument("--publish", nargs="*", default=[], metavar="VERSION", help="published besides")
    removing = commands.add_parser("remove")
    removing.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    try:
        if options.command == "demo":
            demo()
        elif options.command == "up":
            up(options)
        else:
            with _announced("Removing the stand"):
                Stand(FOLDER if options.command == "down" else options.folder).remove()
    except (StandError, BuildError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except ClmsError as error:
        print(f"\n{error.happened} {error.remedy} ({error.code})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
