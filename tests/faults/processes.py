"""Processes that are killed, stopped, or meet in one folder: the others end in bounded time, with one clear line.

`python -m tests.faults.processes`; Linux, as it finds children in /proc. Trainings of one process are forked from this
one, which spares their start.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from retrieval.train import main as train
from tests.jobs.commands import ENV, ROOT, call

_begin = time.monotonic()
import_module("retrieval.training.running")  # what is loaded here need not be in each fork
SLOWNESS = max(5.0, time.monotonic() - _begin)
"""Seconds that this machine takes to start; a busy one takes many."""
START, END = 24 * SLOWNESS, 40 + SLOWNESS
"""Seconds for a job to get going, and for it to end once it must."""
TIMEOUT = round(5 * SLOWNESS)
"""Seconds that a process waits for a stopped one; it must be able to start in them."""
SMALL = [
    "reducer=none",
    "data.corpus.train=16",
    "data.corpus.val=8",
    "data.corpus.test=8",
    "data.batch_size=4",
    "trainer.max_epochs=10000",
    "~callbacks.progress",
]


class Job:
    """A job that goes on until it is stopped, its output in a file.

    Args:
        place: the folder of all its files.
        name: of the job.
        task: what is called with `overrides` in a fork of this process; None: training as a command.
        overrides: of its config.
    """

    def __init__(self, place: Path, name: str, task: Callable[[], None] | None, *overrides: str) -> None:
        self.log = place / f"{name}.txt"
        arguments = [*overrides, f"output={place}", f"data.root={place}", *SMALL]
        with self.log.open("w") as log:
            self.process = Fork(task, arguments, log.fileno()) if task else _command(arguments, log.fileno())

    @property
    def text(self) -> str:
        return self.log.read_text()

    def children(self) -> list[int]:
        return descendants(self.process.pid)

    def errors(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.startswith("error:")]

    def wait(self, until: Callable[[], object], seconds: float = START) -> bool:
        """Whether `until` comes true before the job ends."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if until():
                return True
            time.sleep(0.05)
        return False

    def code(self, seconds: float = END) -> int | None:
        """The exit code; None where the job does not end in time."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        return self.process.poll()

    def kill(self) -> None:
        """Leave nothing of it."""
        for pid in [*self.children(), *[self.process.pid] * (self.process.poll() is None)]:
            send(pid, signal.SIGKILL)
        self.code()


class Fork:
    """A forked process, to be polled like one of `subprocess`."""

    def __init__(self, task: Callable[[], None], arguments: list[str], output: int) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(output, 1)
            os.dup2(output, 2)
            try:
                call(task, *arguments)
            except SystemExit as stopped:
                print(stopped.code, file=sys.stderr, flush=True)
                os._exit(0 if stopped.code is None else 1)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(70)
            os._exit(0)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def _command(arguments: list[str], output: int) -> subprocess.Popen:
    line = [sys.executable, "-m", "retrieval.train", *arguments]
    return subprocess.Popen(line, cwd=ROOT, env=ENV, stdout=output, stderr=output)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have; zombies are none."""
    try:
        found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [each for child in found for each in (child, *descendants(child)) if is_alive(each)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def send(pid: int, number: signal.Signals) -> None:
    if is_alive(pid):
        os.kill(pid, number)


def gone(pids: list[int], seconds: float = END) -> str:
    """Empty where all of these end in time."""
    end = time.monotonic() + seconds
    while (left := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    return f"{len(left)} of {len(pids)} processes are still there" if left else ""


def rank_is(place: Path, which: int, number: signal.Signals) -> str:
    """Stop one of two processes that train together."""
    timeout = [f"trainer.strategy.timeout={TIMEOUT}"] * (number == signal.SIGSTOP)
    name = f"rank_{which}_{number.name}"
    job = Job(place, name, None, f"name={name}", "trainer=ddp_cpu", "data.num_workers=0", *timeout)
    try:
        if not job.wait(lambda: "epoch 1/" in job.text and job.children()):
            return f"did not start: {job.text[-500:]}"
        ranks = [job.process.pid, job.children()[0]]
        send(ranks[which], number)
        left = ranks if number == signal.SIGKILL else [ranks[1 - which]]
        if (trouble := gone(left, TIMEOUT + END)) or (code := job.code()) == 0:
            return trouble or f"exit code {code}"
        return one_error(job, "process")
    finally:
        job.kill()


def one_error(job: Job, word: str) -> str:
    """Empty where the job has told one error, which has this word in it, and no traceback."""
    if len(job.errors()) != 1 or word not in job.errors()[0] or "Traceback" in job.text:
        return f"told {job.errors()}, {job.text.count('Traceback')} tracebacks"
    return ""


def worker_is_killed(place: Path) -> str:
    """Kill a process that reads videos for a training."""
    job = Job(place, "worker", train, "name=worker", "data.num_workers=2")
    try:
        if not job.wait(lambda: len(job.children()) >= 2 and "epoch 1/" in job.text):
            return f"did not start: {job.text[-500:]}"
        send(job.children()[-1], signal.SIGKILL)
        code = job.code()
        return one_error(job, "a process that reads videos") if code == 1 else f"exit code {code}"
    finally:
        job.kill()


def parent_is_killed(place: Path, task: Callable[[], None], *overrides: str, ready: str) -> str:
    """Kill a process: those that it has started end."""
    job = Job(place, f"parent_{len(list(place.glob('parent_*')))}", task, *overrides)
    try:
        if not job.wait(lambda: len(job.children()) >= 2 and ready in job.text):
            return f"did not start: {job.text[-500:]}"
        children = job.children()
        send(job.process.pid, signal.SIGKILL)
        job.code()
        return gone(children)
    finally:
        job.kill()


def second_run(place: Path) -> str:
    """Go on with a run that is still going on."""
    name = "name=twice"
    first = Job(place, "first", train, name, "data.num_workers=0")
    try:
        if not first.wait(lambda: list(place.glob("twice/*/checkpoints/last.ckpt"))):
            return f"did not start: {first.text[-500:]}"
        folder = next((place / "twice").iterdir())
        config = (folder / "config.yaml").read_bytes()
        second = Job(place, "second", train, name, "data.num_workers=0", "ckpt_path=last", "optimizer.lr=0.5")
        if (code := second.code(START)) != 1:
            return f"exit code {code}"
        if (folder / "config.yaml").read_bytes() != config or first.process.poll() is not None:
            return "the first one was disturbed"
        return one_error(second, f"(pid {first.process.pid})")
    finally:
        first.kill()


def main() -> None:
    """Try all, tell each."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        workers = ["data.num_workers=2"]
        sweep = ["-m", "seed=0,1", "data.num_workers=0", "hydra/launcher=local", f"hydra.sweep.dir={place}/sweep"]
        cases = {
            "a killed worker": lambda: worker_is_killed(place),
            "workers of a killed training": lambda: parent_is_killed(
                place, train, "name=orphans", *workers, ready="epoch 1/"
            ),
            "jobs of a killed sweep": lambda: parent_is_killed(place, train, *sweep, ready="epoch 1/"),
            "a second run in a folder": lambda: second_run(place),
            "a killed rank": lambda: rank_is(place, 1, signal.SIGKILL),
            "a killed first rank": lambda: rank_is(place, 0, signal.SIGKILL),
            "a stopped rank": lambda: rank_is(place, 1, signal.SIGSTOP),
        }
        held = 0
        for name, case in cases.items():
            begin = time.monotonic()
            trouble = case()
            held += not trouble
            print(f"{name}: {trouble or 'held'} ({time.monotonic() - begin:.0f} s)", flush=True)
    print(f"processes: held {held} of {len(cases)}")
    if held < len(cases):
        sys.exit(1)


if __name__ == "__main__":
    main()
