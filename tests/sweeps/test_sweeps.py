"""Sweeps: what is refused before anything runs, what is skipped, resumed, damaged and told."""

import pickle
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from shutil import copytree

import pytest
from omegaconf import OmegaConf

from retrieval.errors import UserError
from retrieval.jobs.results import Results
from retrieval.jobs.runs import CONFIG, ERROR, METRICS, save_config
from retrieval.jobs.stopping import Stopped
from retrieval.sweeps import running, states
from retrieval.sweeps.grids import Point
from retrieval.sweeps.plugin import JobSweeper
from retrieval.sweeps.running import run_sweep
from retrieval.sweeps.states import VALUE, State, damaged, run_once, state
from retrieval.train import main as train
from tests.jobs.commands import ENV, ROOT, call
from tests.sweeps.jobs import NONE, chain, write_job


def test_the_sweepers_defaults_are_those_of_its_file():
    config = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "hydra" / "sweeper" / "jobs.yaml"))
    assert config.pop("_target_") == f"{JobSweeper.__module__}.{JobSweeper.__name__}"
    assert {
        name: list(value) if name == "grids" else value or None for name, value in vars(JobSweeper()).items()
    } == config


def launched(finished: list[str]):
    """A launcher whose jobs leave results; `broken` fails."""

    def launch(jobs) -> None:
        for name, overrides in jobs:
            finished.append(" ".join(overrides))
            folder = Path(overrides[0].partition("=")[2])
            (folder / CONFIG).unlink()
            folder.rmdir()
            broken = name == "broken"
            write_job(folder, chain(2, 0.3) if broken else NONE, 0, None if broken else 300.0)

    return launch


def at(place: Path, *names: str) -> list[Point]:
    return [Point(name, (f"run_dir={place / name}",)) for name in names]


def composed(point: Point):
    folder = point.overrides[0].partition("=")[2]
    reducer = chain(2, 0.3) if point.name == "broken" else NONE
    data, backbone = {"frames": 4, "seed": 0}, {"source": "ViT-tiny-8"}
    return OmegaConf.create({"run_dir": folder, "seed": 0, "reducer": reducer, "data": data, "backbone": backbone})


def test_a_sweep_ends_with_its_table_and_the_command_for_the_report(tmp_path, capsys):
    ran: list[str] = []
    run_sweep(at(tmp_path, "whole"), composed, launched(ran))
    with pytest.raises(ValueError, match="1 jobs are left: the same command runs only those"):
        run_sweep(at(tmp_path, "whole", "broken"), composed, launched(ran))
    assert ran == [f"run_dir={tmp_path / name}" for name in ("whole", "broken")]  # the first one once
    printed = capsys.readouterr().out
    assert "whole: skipped, finished before" in printed
    assert f"broken: failed, see {tmp_path / 'broken' / ERROR}" in printed
    rows = [line.split() for line in printed.splitlines()]
    assert ["none", "1", "finished", "50.0", "50.0", "300.0", "0.2000"] in rows
    assert ["Pooling", "+", "TempMe", "0", "1", "failed", "-", "-", "-", "-"] in rows
    assert printed.rstrip().endswith(f"report: python -m retrieval.report {tmp_path}")


def test_a_stopped_sweep_ends_with_the_signals_exit_code(tmp_path, capsys):
    def launch(jobs) -> None:
        raise pickle.loads(pickle.dumps(Stopped(signal.SIGTERM)))  # as from another process

    with pytest.raises(Stopped) as stopped:
        run_sweep(at(tmp_path, "whole"), composed, launch)
    assert stopped.value.code == 143
    printed = capsys.readouterr()
    assert "whole: missing" in printed.out
    assert printed.err == "stopped by SIGTERM; the same command goes on\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished job with its config as a sweep writes it."""
    place = tmp_path_factory.mktemp("whole")
    run_sweep(at(place, "whole"), composed, launched([]))
    save_config(composed(at(place, "whole")[0]))
    assert state(place / "whole") is State.FINISHED
    return place / "whole"


def torn(whole: Path, place: Path, file: str, size: int) -> Path:
    """The same job elsewhere, with only the first bytes of a file."""
    copytree(whole, place / "whole")
    save_config(composed(at(place, "whole")[0]))
    (place / "whole" / file).write_bytes((place / "whole" / file).read_bytes()[:size])
    return place / "whole"


@pytest.mark.parametrize("file", [CONFIG, VALUE, METRICS])
def test_a_file_that_is_cut_anywhere_damages_its_job(file, whole, tmp_path):
    size = (whole / file).stat().st_size
    folder = torn(whole, tmp_path, file, 0)
    content = (whole / file).read_bytes() if file != CONFIG else composed_text(folder)
    for length in {*range(0, size, 7), *range(max(size - 8, 0), size)}:
        (folder / file).write_bytes(content[:length])
        assert state(folder) is State.DAMAGED, content[:length]
    (folder / file).write_bytes(b"\x00" * size)  # as after a power cut
    assert state(folder) is State.DAMAGED
    assert damaged(folder) == [file]


def composed_text(folder: Path) -> bytes:
    save_config(composed(Point(folder.name, (f"run_dir={folder}",))))
    return (folder / CONFIG).read_bytes()


@pytest.mark.parametrize(("file", "runs"), [(CONFIG, False), (VALUE, True), (METRICS, True)])
@pytest.mark.parametrize("size", [0, 2])
def test_a_damaged_job_stops_no_other_and_runs_again_where_nothing_is_lost(file, runs, size, whole, tmp_path, capsys):
    folder = torn(whole, tmp_path, file, size)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ran: list[str] = []

    def launch(jobs) -> None:
        for name, overrides in jobs:
            ran.append(name)
            run_once(lambda config: Results.read(whole / METRICS).write(Path(config.run_dir)), composed(
                Point(name, tuple(overrides))
            ))  # fmt: skip

    with pytest.raises(UserError, match="1 jobs are left") if not runs else nullcontext():
        run_sweep(at(tmp_path, "whole", "next"), composed, launch)
    assert ran == [*["whole"] * runs, "next"]
    told = capsys.readouterr().out
    assert f"whole: {file} damaged, {'run again' if runs else 'left as it is: restore config.yaml, or delete'}" in told
    if runs:
        assert state(folder) is State.FINISHED
    else:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert f"whole: damaged, {file} damaged" in told


def test_a_job_that_runs_elsewhere_is_left_alone(tmp_path, capsys, monkeypatch):
    ran: list[str] = []
    busy = (tmp_path / "whole").absolute()
    who = "in use by the sweep job of ada on node3 (pid 7) since 2026-01-01 00:00:00"
    for module in (states, running):
        monkeypatch.setattr(module, "holder", lambda folder: who if folder == busy else None)
    with pytest.raises(UserError, match="1 jobs are left"):
        run_sweep(at(tmp_path, "whole", "next"), composed, launched(ran))
    assert ran == [f"run_dir={tmp_path / 'next'}"]
    printed = capsys.readouterr().out
    assert f"whole: left alone, {who}" in printed
    assert "whole: running" in printed


def test_why_the_launcher_stopped_is_told(tmp_path, capsys):
    def launch(jobs) -> None:
        raise KeyboardInterrupt

    with pytest.raises(ValueError, match=r"the launcher stopped \(KeyboardInterrupt: .*1 jobs are left"):
        run_sweep(at(tmp_path, "whole"), composed, launch)
    assert "whole: missing" in capsys.readouterr().out


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sweep")


def arguments(folder: Path, *overrides: str) -> list[str]:
    small = ["experiment=smoke", "data.num_workers=0", "~callbacks.progress", f"data.root={folder}"]
    return ["-m", *small, f"hydra.sweep.dir={folder / 'jobs'}", *overrides]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["reducer=kmedoids,pooling", "reducer.num_segments=5,7,6"], "4 jobs of the sweep cannot run, so none was"),
        (["seed=interval(0,1)"], "a range without steps is for searches alone"),
    ],
)
def test_what_cannot_run_is_named_before_anything_runs(overrides, message, folder, capsys):
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        call(train, *arguments(folder, *overrides))
    printed = capsys.readouterr().err
    refused = [line for line in printed.splitlines() if "does not divide the 12 frames" in line]
    assert [line.split(": ")[0].split()[-2:] for line in refused] == [
        [f"reducer={name}", f"reducer.num_segments={segments}"]
        for name in ("kmedoids", "pooling")
        for segments in (5, 7)
        if len(overrides) == 2
    ]
    assert not (folder / "jobs").exists()


def sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "retrieval.train", *arguments(folder, *overrides)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=ENV)


@pytest.mark.slow
def test_the_others_finish_and_the_second_time_only_the_missing_one_runs(folder):
    broken = folder / "jobs" / "reducer-tempme"
    broken.mkdir(parents=True)
    (broken / "checkpoints").touch()  # where a folder is needed
    done = sweep(folder, "reducer=tempme,none", "hydra/launcher=local")
    assert done.returncode == 1
    assert "1 of 2 jobs have finished" in done.stdout
    assert "error: 1 jobs are left" in done.stderr
    assert "Traceback" in (broken / ERROR).read_text()
    assert "\nreducer-none: " in done.stdout  # what the jobs print stands under their names
    finished = folder / "jobs" / "reducer-none"
    before = (finished / "metrics.json").stat().st_mtime_ns

    (broken / "checkpoints").unlink()
    done = sweep(folder, "reducer=tempme,none", "hydra/launcher=local")
    assert done.returncode == 0, done.stderr
    assert "reducer-tempme: tried again" in done.stdout
    assert "reducer-none: skipped, finished before" in done.stdout
    assert done.stdout.rstrip().endswith(f"python -m retrieval.report {folder / 'jobs'}")
    assert (finished / "metrics.json").stat().st_mtime_ns == before
    assert not (broken / ERROR).exists()
    assert OmegaConf.load(broken / CONFIG).run_dir == str(broken)
