# SPDX-License-Identifier: GPL-3.0-or-later
"""The named cases: every step of a run and every row of the fault table (shared design, "Faults during an update")."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ansible_collections.clms.update.plugins.module_utils.plan import PHASES

from . import arrangements, injections
from .bench import Point
from .cases import NEW, OLD, Case
from .injections import Injection

_KILLED = "kill -9 of the agent and everything it had started"
_AFTER_COMMIT = ("open", "clean_up")
EITHER = frozenset({OLD, NEW})


@dataclass(frozen=True)
class Step:
    """A step of a run without faults, as it was measured."""

    phase: str
    step: str
    number: int
    seconds: float
    begins: float
    """seconds after the beginning of the run"""

    def point(self, at: str) -> Point:
        """The fault point before, in the middle of or after it."""
        return Point(self.phase, self.step, at, self.number, round(self.seconds / 2, 3) if at == "middle" else 0.0)


def expected(point: Point) -> frozenset[str]:
    """Where a school is after a crash at a point: on the old version before the commit record, else on the new one."""
    if (point.phase, point.step) == ("commit", "record"):
        return frozenset({NEW if point.at == "after" else OLD})
    if point.phase == "commit" and point.at == "middle":
        return EITHER
    if (point.phase, point.step, point.at) == ("commit", "", "after"):
        return frozenset({NEW})
    return frozenset({NEW if point.phase in _AFTER_COMMIT else OLD})


def _at(point: Point, inject: Injection, words: str, **more: object) -> Case:
    kind = inject.__name__.replace("_", " ")
    return Case(f"{kind}: {point.name}", words, ((point, inject),), expected(point), **more)  # type: ignore[arg-type]


def kill_at_every_step(steps: list[Step]) -> Iterator[Case]:
    """Every step, killed before, in the middle and after."""
    last = ""
    for step in steps:
        # while CLMS is open, the same step once more says the same once more
        once_more = step.number > 1 and not PHASES[step.phase].closed
        for at in ("middle",) if once_more else ("before", "middle", "after"):
            point = step.point(at)
            # one of each phase shows that another try works
            again = step.phase != last and at == "middle" and expected(point) == {OLD}
            yield _at(point, injections.kill_everything, f"{_KILLED}, {at} this step", again=again)
        last = step.phase
    for at in ("before", "after"):
        point = Point("commit", "record", at)
        yield _at(point, injections.kill_everything, f"{_KILLED}, {at} the commit record")
    for phase in ("release", "health_check"):
        for at in ("before", "after"):
            yield _at(Point(phase, "", at), injections.kill_everything, f"{_KILLED}, {at} this phase")


def _one_of_each(steps: list[Step]) -> Iterator[Step]:
    """The longest step of each phase."""
    for phase in dict.fromkeys(step.phase for step in steps):
        yield max((step for step in steps if step.phase == phase), key=lambda step: step.seconds)


def other_faults(steps: list[Step]) -> Iterator[Case]:
    """Power, engine, database, agent, worker and playbook: in the middle of each phase, and where it matters most."""
    by_phase = {step.phase: step for step in _one_of_each(steps)}
    for step in by_phase.values():
        middle = step.point("middle")
        yield _at(middle, injections.cut_power, "power cut: the disk as it was at that instant, everything else gone")
        if PHASES[step.phase].closed:
            yield _at(middle, injections.kill_host, "the whole host killed and started")
        yield _at(middle, injections.kill_agent, "kill -9 of the agent alone, its playbook and a child still at work")
        yield _at(step.point("before"), injections.kill_worker, "kill -9 of the process that does the step")
    for phase, step, at in (
        ("drain", "gate_close", "before"), ("drain", "gate_close", "after"), ("slot", "stop", "after"),
        ("slot", "copy", "after"), ("migrate", "migrate", "after"), ("commit", "sync", "after"),
        ("commit", "record", "before"), ("commit", "record", "after"), ("open", "gate_open", "before"),
        ("open", "gate_open", "after"),
    ):  # fmt: skip
        point = Point(phase, step, at)
        yield _at(point, injections.cut_power, "power cut: the disk as it was at that instant, everything else gone")
    for phase in ("image_pull", "backup", "rehearse", "drain", "slot", "migrate", "container_replace", "open"):
        # whoever asks the engine for something meanwhile may get an error, or find all as it was
        before = replace(_at(by_phase[phase].point("before"), injections.restart_engine, "the engine restarted"))
        yield replace(before, expected=EITHER)
    for phase in ("backup", "slot", "migrate", "container_replace", "open"):
        case = _at(by_phase[phase].point("before"), injections.kill_engine, "kill -9 of the engine")
        yield replace(case, expected=EITHER)
    for phase in ("backup", "rehearse", "slot", "migrate", "container_replace", "open"):
        case = _at(by_phase[phase].point("before"), injections.kill_databases, "kill -9 of every database on the host")
        yield replace(case, expected=EITHER)
    for phase in ("rehearse", "migrate", "container_replace"):
        yield _at(by_phase[phase].point("before"), injections.kill_playbook, "kill -9 of ansible-playbook")
    for phase in ("backup", "rehearse", "slot", "migrate", "container_replace", "open"):
        case = _at(by_phase[phase].point("before"), injections.fill_disk, "the disk filled to its last byte")
        wanted = frozenset({NEW}) if phase == "open" else EITHER
        yield replace(case, expected=wanted, arrange=arrangements.disk_emptied)
    for phase in ("backup", "slot", "container_replace", "open"):
        case = _at(by_phase[phase].point("before"), injections.cut_network, "no way to the vendor any more")
        yield replace(case, expected=frozenset({NEW}), arrange=arrangements.network_mended)
    for phase in ("backup", "rehearse", "drain", "slot", "migrate", "open"):
        case = _at(by_phase[phase].point("before"), injections.prune, "somebody runs `docker image prune --all`")
        yield replace(case, expected=frozenset({NEW}))
    for phase in ("drain", "migrate", "commit"):
        case = _at(by_phase[phase].point("before"), injections.ask_for_shutdown, "somebody switches the host off")
        yield replace(case, expected=frozenset({NEW}))
    for inject, words in (
        (injections.corrupt_backup, "a bit of the backup turned over before it was proved"),
        (injections.truncate_backup, "the end of the backup was lost before it was proved"),
    ):
        yield replace(_at(Point("backup", "prove", "before"), inject, words))


def around_the_vendor() -> Iterator[Case]:
    """Registry and release server: away, slow, with errors, with half an answer."""
    for server in ("registry", "releases"):
        for mood, words in (
            ("error", "answers 500 to everything"),
            ("slow", "sends one byte a second"),
            ("truncated", "breaks off in the middle of each answer"),
        ):
            yield Case(
                f"{server} {mood}", f"the vendor's {server} server {words}",
                arrange=arrangements.vendor_in_a_mood(server, mood),
            )  # fmt: skip
    for name, words, arrange in (
        ("network cut before", "no way to the vendor from the beginning", arrangements.network_cut),
        (
            "registry error",
            "the registry answers 500 to everything",
            arrangements.vendor_in_a_mood("registry", "error"),
        ),
    ):
        yield Case(
            f"{name}, with the vendor's file", f"{words}, but the school has the vendor's file",
            arrange=arrangements.all_of(arrangements.vendors_file, arrange), expected=frozenset({NEW}),
        )  # fmt: skip
    yield Case("network cut before", "no way to the vendor from the beginning", arrange=arrangements.network_cut)
    case = Case("network cut: image_pull/pull before", "no way to the vendor from the first image on")
    yield replace(
        case, faults=((Point("image_pull", "pull", "before"), injections.cut_network),),
        arrange=arrangements.network_mended,
    )  # fmt: skip


_BROKEN = {
    "dies": "a new version that dies at its start",
    "nocheckout": "a new version that is healthy and cannot check a book out",
    "frontend": "a new version whose frontend answers 502",
    "fifthstatement": "a migration whose fifth statement fails",
    "baddata": "a migration that fails on this school's data",
    "hangs": "a migration that hangs",
}


def broken_releases() -> Iterator[Case]:
    """A release that does not work: found in the rehearsal, or without one when CLMS is closed."""
    for name, words in _BROKEN.items():
        case = Case(
            f"release {name}", words, command=("update", "--version", f"1.0.9-{name}"),
            arrange=arrangements.bad_book if name == "baddata" else None,
        )  # fmt: skip
        yield case
        without = [arrangements.no_rehearsal, *([arrangements.bad_book] if name == "baddata" else [])]
        yield replace(
            case, name=f"release {name}, not rehearsed", injected=f"{words}, on a school that skips the rehearsal",
            arrange=arrangements.all_of(*without),
        )  # fmt: skip


def clocks() -> Iterator[Case]:
    """A clock that is wrong, or was."""
    for shift, words in (("+1y", "a year fast"), ("-1y", "a year slow")):
        yield Case(
            f"clock {shift}", f"the host's clock is {words}", arrange=arrangements.clock(shift), says="clock"
        )  # fmt: skip
        yield Case(
            f"clock was {shift}", f"the host's clock was {words} during the run before",
            expected=frozenset({NEW}), arrange=arrangements.clock_was_wrong(shift),
        )  # fmt: skip


def journals() -> Iterator[Case]:
    """A journal that cannot be read."""
    yield Case(
        "journal spoilt", "the journal is no database any more, while nothing goes on", expected=frozenset({NEW}),
        act=arrangements.journal_spoilt,
    )  # fmt: skip
    yield Case("journal newer", "the journal is of a newer program", act=arrangements.journal_newer)
    for point in (Point("slot", "copy", "before"), Point("open", "gate_open", "after")):
        yield _at(point, injections.spoil_journal, "everything killed, and the journal no database any more")


def schedules() -> Iterator[Case]:
    """An update whose time has passed while the server was off."""
    yield Case(
        "missed schedule: run", "no power at the time of a scheduled update, which is to run at the next start then",
        expected=frozenset({NEW}), act=arrangements.missed("run"),
    )  # fmt: skip


def double_faults(steps: list[Step]) -> Iterator[Case]:
    """While the first fault is being put in order, the second one strikes, and a third."""
    # what a migration has done to slot B is kept for diagnosis, so that nothing is freed
    migrating, starting = Point("migrate", "migrate", "before"), Point("container_replace", "start", "before")
    rollback = (
        ("serve_old", "before"), ("start_old", "before"), ("start_old", "after"), ("gate_open", "before"),
        ("gate_open", "after"), ("remove_new", "before"), ("free_slot", "before"), ("free_slot", "after"),
        ("tidy", "before"),
    )  # fmt: skip
    for inject, words in ((injections.kill_everything, "killed"), (injections.cut_power, "without power")):
        for step, at in rollback:
            first, second = starting if step == "free_slot" else migrating, Point("rollback", step, at)
            yield Case(
                f"twice {words}: {first.phase}, then {second.name}",
                f"killed in {first.phase}, and the host {words} while the old version was put back",
                ((first, injections.kill_everything), (second, inject)),
            )
    thrice = Point("rollback", "start_old", "before")
    yield Case(
        "three times killed: migrate, then rollback/start_old twice",
        "killed during the migration, and twice while the old version was put back",
        (
            (migrating, injections.kill_everything),
            (thrice, injections.kill_everything),
            (replace(thrice, number=2), injections.kill_everything),
        ),
    )
    yield Case(
        "old version cannot be started", "killed in the migration, and the old version's backend is not there any more",
        act=arrangements.needs_operator,
    )  # fmt: skip
    for step, at in (("gate_open", "before"), ("restart_policy", "before"), ("version_row", "before")):
        point = Point("open", step, at)
        yield Case(
            f"twice killed: commit/record after, then {point.name}",
            "killed right after the commit record, and again while the new version was opened",
            ((Point("commit", "record", "after"), injections.kill_everything), (point, injections.kill_everything)),
            frozenset({NEW}),
        )


def controllers(phases: tuple[str, ...]) -> Iterator[Case]:
    """The workstation that started the update over ssh is gone."""
    for phase in phases:
        yield Case(
            f"controller killed: {phase}",
            f"kill -9 of ansible-playbook on the workstation when the school had come to '{phase}'",
            expected=frozenset({NEW}), act=arrangements.controller_killed(phase),
        )  # fmt: skip
    yield Case(
        "twenty starts at once", "twenty starts at the same time: commands, playbooks over ssh, requests to the socket",
        expected=frozenset({NEW}), act=arrangements.twenty_starts,
    )  # fmt: skip


def other_runs(images: list[Step], rollback: list[Step], restore: list[Step]) -> Iterator[Case]:
    """Updates without migration, rollbacks and restores that somebody asked for."""
    kinds = (
        ("update without migration", images, ("update", "--version", "1.0.2"), "1.0.2", False),
        ("rollback", rollback, ("rollback", "--confirm", "1.0.0"), "1.0.0", True),
        ("restore", restore, ("restore", arrangements.NEWEST_BACKUP, "--confirm", "1.0.0"), "1.0.0", True),
    )
    for kind, steps, command, target, gives_up in kinds:
        for number, step in enumerate(_one_of_each(steps)):
            inject = (injections.cut_power, injections.kill_everything)[number % 2]
            case = _at(step.point("middle"), inject, f"{inject.__doc__} In a {kind}.")
            yield replace(
                case, name=f"{kind}, {case.name}", command=command, base="1.0.1", target=target,
                gives_up_writes=gives_up,
            )  # fmt: skip


def named(measured: dict[str, list[Step]]) -> list[Case]:
    """All named cases.

    :param measured: kind of run -> its steps
    """
    update = measured["update"]
    phases = tuple(dict.fromkeys(step.phase for step in update))
    cases = [
        *clocks(),
        *journals(),
        *schedules(),
        *around_the_vendor(),
        *controllers(phases),
        *double_faults(update),
        *other_faults(update),
        *other_runs(measured["update_images"], measured["rollback"], measured["restore"]),
        *broken_releases(),
        *kill_at_every_step(update),
    ]
    assert len({case.name for case in cases}) == len(cases), "two cases have the same name"
    return cases


def drawn(seed: int, count: int, steps: list[Step]) -> list[Case]:
    """Kills at random instants, drawn around the measured length of an update.

    :param seed: the same seed draws the same instants, as shares of the length
    """
    draw = random.Random(seed)  # noqa: S311 - has to be replayable
    length = max(step.begins + step.seconds for step in steps)
    cases = []
    for number in range(1, count + 1):
        share, inject = round(draw.uniform(0, 1.1), 4), draw.choice(
            (injections.kill_everything, injections.cut_power, injections.kill_agent, injections.kill_host)
        )  # fmt: skip
        cases.append(
            Case(
                f"random {number} of seed {seed}",
                f"{inject.__name__.replace('_', ' ')} at {share:.0%} of an update ({share * length:.2f} s)",
                expected=EITHER,
                act=arrangements.at_moment(share * length, inject),
            )
        )
    return cases
