# SPDX-License-Identifier: GPL-3.0-or-later
"""Building an image with the real engine, and what is left where that fails, is killed or does not end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine, wait_until
from ansible_collections.clms.update.plugins.module_utils.adapters.image_build import remove_left
from tests.integration.build_stage import LABEL, SHELL_IMAGE, Bench, context, small_engine
from tests.integration.conftest import archive

pytestmark = pytest.mark.engine
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(make_image: Callable[..., str], prefix: str, engine: docker.DockerClient, tmp_path: Path) -> Iterator[Bench]:
    """Builds on an image of a few bytes, without a shell."""
    bench = Bench(engine, str(engine.images.get(make_image("base", prefix)).id), tmp_path / "build")
    yield bench
    bench.remove()


@pytest.fixture
def shell(prefix: str, engine: docker.DockerClient, tmp_path: Path) -> Iterator[Bench]:
    """Builds on an image with a shell."""
    name = f"{prefix}-shell:1"
    made, _ = engine.images.build(fileobj=context(f"LABEL {LABEL}.base={prefix}"), custom_context=True, tag=name,
                                  buildargs={"BASE_IMAGE": SHELL_IMAGE}, rm=True)  # fmt: skip
    bench = Bench(engine, str(made.id), tmp_path / "build")
    yield bench
    bench.remove()
    engine.images.remove(name)


def test_nothing_is_left_of_a_build_that_fails(bench: Bench) -> None:
    with pytest.raises(docker.errors.APIError):
        bench.build("ENV ONE=1", "ENV TWO=2", "COPY nothing /there")
    assert bench.images() == {bench.base}
    bench.assert_nothing_left()


def test_a_build_that_succeeds_keeps_what_it_is_made_of(bench: Bench) -> None:
    found = bench.client.images.get(bench.build("ENV ONE=1", "ENV TWO=2"))
    assert "TWO=2" in found.attrs["Config"]["Env"]
    assert bench.images() >= {bench.base, found.id}
    bench.assert_nothing_left()


def test_stages_that_are_no_part_of_the_image_go(bench: Bench) -> None:
    built = bench.build(
        "COPY made /made", "ENV STAGE=1", "FROM ${BASE_IMAGE}", "COPY --from=0 /made /", files={"made": b"here"}
    )
    assert b"here" in b"".join(bench.client.images.get(built).save())
    assert all("STAGE=1" not in str(bench.client.api.inspect_image(image)) for image in bench.images())
    bench.assert_nothing_left()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("exec sleep 100000", id="silent"),
        pytest.param("while :; do echo busy; sleep 0.1; done", id="talking"),
        pytest.param("trap : TERM INT HUP; while :; do sleep 1; done", id="stubborn"),
    ],
)
def test_a_build_that_hangs_is_ended(shell: Bench, command: str) -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="not done after"):
        shell.build("RUN echo 1 > /one", f"RUN {command}", "RUN echo 3 > /three", seconds=3)
    assert 3 <= time.monotonic() - started < 120
    assert_tidy(shell)


ANOTHER = """
import sys
from contextlib import closing
from pathlib import Path
import docker
from tests.integration.build_stage import Bench
bench = Bench(docker.from_env(), sys.argv[1], Path(sys.argv[2]), sys.argv[3])
bench.build(*sys.argv[4:])
"""


def another(bench: Bench, *steps: str) -> list[str]:
    """The command that builds in a process of its own."""
    return [sys.executable, "-c", ANOTHER, bench.base, str(bench.record), bench.name, *steps]


def tidy_up(bench: Bench) -> None:
    """What each clean up does."""
    engine = Engine()
    with closing(engine.client):
        remove_left(engine, bench.record)


def assert_tidy(bench: Bench) -> None:
    """Nothing is left of a build; what a busy engine still held at its end goes with the next clean up."""
    if bench.record.exists():
        tidy_up(bench)
    assert bench.images() == {bench.base}
    bench.assert_nothing_left()


@pytest.mark.parametrize("tidied", ["by the next build", "by the next clean up"])
def test_a_build_whose_process_was_killed(shell: Bench, tidied: str) -> None:
    long = f"sleep 6; : {shell.name}"
    steps = ("RUN echo 1 > /one", "RUN echo 2 > /two", f"RUN {long}", "RUN echo 4 > /four")
    with subprocess.Popen(another(shell, *steps), cwd=ROOT) as process:
        assert wait_until(lambda: shell.runs(long), seconds=120)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    # what this is about: the engine does not tidy up by itself
    assert len(shell.images()) > 1
    assert shell.record.exists()
    if tidied == "by the next clean up":
        tidy_up(shell)
        assert shell.images() == {shell.base}
        shell.assert_nothing_left()
    built = shell.build(*steps)
    said = shell.client.containers.run(built, ["cat", "/one", "/two", "/four"], entrypoint="", remove=True)
    assert said == b"1\n2\n4\n"
    shell.assert_nothing_left()
    assert len(shell.images()) == 1 + len(steps) + 1  # the base, a step each, the label


@pytest.mark.parametrize("megabytes", [pytest.param(20, id="in-a-layer"), pytest.param(60, id="before-the-first-step")])
def test_a_build_on_a_full_disk(tmp_path: Path, prefix: str, megabytes: int) -> None:
    large = os.urandom(megabytes << 20)
    steps = ("ENV ONE=1", "COPY large /", "COPY large /again")
    with small_engine(48) as small:
        client, disk = small.client, small.disk
        client.api.import_image_from_data(archive({"content": b"1"}).getvalue(), repository=prefix, tag="1")
        bench = Bench(client, str(client.images.get(f"{prefix}:1").id), tmp_path / "build")
        free = shutil.disk_usage(disk).free
        for _ in range(2):
            with pytest.raises(docker.errors.APIError, match="no space left on device"):
                bench.build(*steps, files={"large": large})
            assert_tidy(bench)
            assert free - shutil.disk_usage(disk).free < 1 << 20
        bench.build(*steps, files={"large": large[: 1 << 20]})
        bench.assert_nothing_left()


def test_an_engine_that_dies_during_a_build(tmp_path: Path, engine: docker.DockerClient) -> None:
    """When it is back it knows of a container that has stopped."""
    with small_engine(300) as small:
        small.client.images.load(engine.images.get(SHELL_IMAGE).save(named=True))
        bench = Bench(small.client, str(small.client.images.get(SHELL_IMAGE).id), tmp_path / "build")
        command = another(bench, "RUN echo 1 > /one", "RUN exec sleep 100000")
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            runs = wait_until(lambda: bench.runs("exec sleep 100000") or process.poll() is not None, seconds=120)
            assert runs, small.log()
            assert process.poll() is None, process.communicate()[1]
            small.stop()
            _, said = process.communicate()
        assert said.splitlines()[-1].startswith("requests.exceptions.ConnectionError")
        small.start()
        bench = Bench(small.client, bench.base, bench.record)
        assert len(bench.images()) == 1 + len(["RUN echo 1 > /one"])
        assert len(bench.containers()) == 1
        tidy_up(bench)
        assert bench.images() == {bench.base}
        bench.assert_nothing_left()
