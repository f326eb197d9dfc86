"""Kills (SIGKILL) during training, most of them during a save, with the system's temporary folder elsewhere.

Half of the runs are on the disk with the temporary folder in memory, the other half the other way round. One process
imports everything and is forked for every training. After a kill both checkpoints must be whole, the temporary folder
empty, and the run must go on.
"""

import os
import random
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import torch
from omegaconf import OmegaConf

from retrieval.errors import UserError
from retrieval.jobs.runs import start_run
from retrieval.model import read_checkpoint
from tests.training.small import Small, go_on, small_trainer

KILLS = 40
NUMBERS = 1_500_000  # of a checkpoint: 6 MB
EPOCHS = 100_000


def main() -> None:
    """Try them; exit code 1 where one did not hold."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir="/tmp") as disk, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        places = [(Path(disk), Path(memory)), (Path(memory), Path(disk))]
        print(f"{KILLS} kills, output and temporary folder on different filesystems: {_differ(*places[0])}")
        found = [_trial(*places[number % 2], random.Random(number)) for number in range(KILLS)]
    for outcome in sorted(set(found)):
        print(f"{found.count(outcome):>4}  {outcome}")
    held = sum(not outcome.startswith("NOT") for outcome in found)
    print(f"kills: held {held} of {KILLS}")
    sys.exit(held < KILLS)


def _trial(output: Path, temporary: Path, chance: random.Random) -> str:
    """Train, kill, look at what is left, go on."""
    run, system = Path(tempfile.mkdtemp(dir=output)), Path(tempfile.mkdtemp(dir=temporary))
    child = _forked(lambda: small_trainer(run, epochs=EPOCHS).fit(_model()), system)
    _wait_for(run / "checkpoints", "last.ckpt")
    if aimed := chance.random() < 0.75:
        _wait_for(run / "checkpoints", f".{chance.choice(('best', 'last'))}.*")
    time.sleep(chance.uniform(0, 0.005 if aimed else 0.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    torn = [path.name for path in run.glob("checkpoints/*.ckpt") if not _is_whole(path)]
    in_save = any(run.glob("checkpoints/.*"))
    if torn or len(list(run.glob("checkpoints/*.ckpt"))) != 2:
        return f"NOT HELD: torn or missing {torn}"
    if list(system.iterdir()):
        return "NOT HELD: files are left in the temporary folder"
    epoch = read_checkpoint(run / "checkpoints" / "last.ckpt")["epoch"]
    _, status = os.waitpid(_forked(lambda: _go_on(run, epoch + 3), system), 0)
    if status or read_checkpoint(run / "checkpoints" / "last.ckpt")["epoch"] != epoch + 2:
        return "NOT HELD: the run did not go on"
    if list(run.glob("checkpoints/.*")):
        return "NOT HELD: half a file is left after the run went on"
    return f"both checkpoints whole, the run went on; killed {'in' if in_save else 'outside of'} a save"


def _go_on(run: Path, epochs: int) -> None:
    """As a job does it: its start deletes what a killed one left."""
    start_run(OmegaConf.create({"run_dir": str(run), "ckpt_path": "last"}))
    go_on(run, module=_model(), epochs=epochs)


def _model() -> Small:
    return Small(NUMBERS, scores=range(EPOCHS))


def _forked(work: Callable[[], object], temporary: Path) -> int:
    """The id of a process that does `work` with its own temporary folder."""
    if child := os.fork():
        return child
    tempfile.tempdir = str(temporary)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def _wait_for(folder: Path, pattern: str) -> None:
    limit = time.monotonic() + 60
    while not any(fnmatch(name, pattern) for name in (os.listdir(folder) if folder.exists() else ())):
        if time.monotonic() > limit:
            raise TimeoutError(folder / pattern)


def _is_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None and len(read_checkpoint(path)["state_dict"]["ballast"]) == NUMBERS
    except (zipfile.BadZipFile, UserError):
        return False


def _differ(one: Path, two: Path) -> bool:
    return one.stat().st_dev != two.stat().st_dev


if __name__ == "__main__":
    main()
