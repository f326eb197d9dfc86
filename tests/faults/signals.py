"""Jobs in processes of their own that are told to stop: exit codes, one line, and the way on that they name."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.jobs.commands import ENV, ROOT

SMALL = [
    "reducer=tempme", "data.corpus.train=32", "data.corpus.val=8", "data.corpus.test=8", "data.batch_size=8",
    "data.num_workers=1", "trainer.max_epochs=2", "trainer.log_every_n_steps=1",
]  # fmt: skip
SLURM = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


def main() -> None:
    """Try them; exit code 1 where one did not hold."""
    with tempfile.TemporaryDirectory() as folder:
        found = list(_trials(Path(folder)))
    held = sum(found)
    print(f"signals: held {held} of {len(found)}")
    sys.exit(held < len(found))


def _trials(place: Path) -> Iterator[bool]:
    yield from _training(place, "sigterm", signal.SIGTERM, 143)
    yield from _training(place, "sigint", signal.SIGINT, 130)
    yield from _training(place, "two_processes", signal.SIGTERM, 143, "trainer=ddp_cpu")
    yield from _slurm(place)
    yield from _sweep(place)
    checkpoint = next(place.glob("runs/sigterm/*/checkpoints/best.ckpt"))
    job = _start("evaluate", place, f"ckpt_path={checkpoint}", "name=evaluated")
    _wait_for(place / "runs", "evaluated/*/evaluate.log", job)
    yield _held(
        "evaluate ends with 143 and one line", *_stop(job, signal.SIGTERM, 143, "the same command starts again")
    )


def _training(place: Path, name: str, number: int, code: int, *knobs: str) -> Iterator[bool]:
    job = _start("train", place, f"name={name}", *SMALL, *knobs)
    _wait_for(place / "runs", f"{name}/*/logs/metrics.csv", job)
    held, text = _stop(job, number, code, "go on with: ")
    yield _held(f"{name}: a training ends with {code} and says how to go on", held, text)
    (folder,) = (place / "runs" / name).iterdir()
    yield _held(f"{name}: it claims no results", not (folder / "metrics.json").exists(), "metrics.json")
    line = text.partition("go on with: ")[2].splitlines()[0]
    again = subprocess.run([sys.executable, *shlex.split(line)[1:]], cwd=ROOT, env=ENV, capture_output=True, text=True)
    yield _held(f"{name}: what it says goes on", (folder / "metrics.json").exists(), again.stdout + again.stderr)


def _slurm(place: Path) -> Iterator[bool]:
    """A requeue by Slurm, whose `scontrol` is a script here."""
    (place / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {place}/asked\n')
    (place / "scontrol").chmod(0o700)
    environment = ENV | SLURM | {"PATH": f"{place}:{os.environ['PATH']}"}
    job = _start("train", place, "name=slurm", *SMALL, environment=environment)
    _wait_for(place / "runs", "slurm/*/logs/metrics.csv", job)
    held, text = _stop(job, signal.SIGUSR1, 138, "requeued as Slurm's job 77")
    asked = (place / "asked").read_text() if (place / "asked").exists() else ""
    yield _held("Slurm's signal has the job requeued", held and asked == "requeue 77\n", text + asked)
    again = _start("train", place, "name=slurm", *SMALL, environment=environment | {"SLURM_RESTART_COUNT": "1"})
    text = again.communicate()[0]
    folders = list((place / "runs" / "slurm").iterdir())
    went_on = "resumed:" in text and len(folders) == 1 and (folders[0] / "metrics.json").exists()
    yield _held("the same command, started again by Slurm, goes on in its folder", went_on, text)


def _sweep(place: Path) -> Iterator[bool]:
    line = ["-m", f"hydra.sweep.dir={place / 'sweep'}", "seed=0,1", *SMALL]
    job = _start("train", place, *line)
    _wait_for(place / "sweep", "seed-0/logs/metrics.csv", job)
    held, text = _stop(job, signal.SIGTERM, 143, "the same command goes on")
    yield _held("a sweep ends with 143", held, text)
    yield _held("its job counts as interrupted", "seed-0: interrupted" in text and "seed-1: missing" in text, text)
    again = _start("train", place, *line)
    text = again.communicate()[0]
    yield _held("the same command finishes it", "2 of 2 jobs have finished" in text, text)


def _start(command: str, place: Path, *knobs: str, environment: dict[str, str] = ENV) -> "subprocess.Popen[str]":
    places = [f"output={place / 'runs'}", f"data.root={place / 'data'}"]
    line = [sys.executable, "-m", f"retrieval.{command}", *knobs, *places]
    mixed = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored, by heirs too
    return subprocess.Popen(line, cwd=ROOT, env=environment, **mixed)


def _wait_for(folder: Path, pattern: str, job: "subprocess.Popen[str]") -> None:
    limit = time.monotonic() + 300
    while not list(folder.glob(pattern)):
        if job.poll() is not None or time.monotonic() > limit:
            raise RuntimeError(f"{job.args} ended too early:\n{job.communicate()[0]}")
        time.sleep(0.01)


def _stop(job: "subprocess.Popen[str]", number: int, code: int, word: str) -> tuple[bool, str]:
    """Whether a job ends with this code, saying this and no traceback; and all that it said."""
    job.send_signal(number)
    text = job.communicate(timeout=300)[0]
    return job.returncode == code and word in text and "Traceback" not in text, f"exit code {job.returncode}\n{text}"


def _held(what: str, held: bool, found: object) -> bool:
    print(f"{'held' if held else 'NOT HELD'}: {what}{'' if held else f'; found {found}'}", flush=True)
    return held


if __name__ == "__main__":
    main()
