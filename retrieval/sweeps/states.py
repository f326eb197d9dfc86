"""How far a job of a sweep has come, told by the files in its folder alone; running it once, and only once."""

import traceback
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from retrieval.errors import UserError
from retrieval.jobs.errors import one_line
from retrieval.jobs.files import is_whole, read_json, write, write_json
from retrieval.jobs.locks import holder, lock
from retrieval.jobs.processes import is_first_process
from retrieval.jobs.runs import CONFIG, ERROR, LAST, LAST_CHECKPOINT, METRICS, save_config
from retrieval.plain import check_plain, shortened

VALUE = "value.json"
"""What a job returned, written when it has finished."""


class State(StrEnum):
    """What has become of a job."""

    FINISHED = "finished"
    RUNNING = "running"  # another process works in its folder
    DAMAGED = "damaged"  # a file in its folder cannot be read
    FAILED = "failed"  # its traceback is in error.txt
    INTERRUPTED = "interrupted"  # it can go on from its last checkpoint
    MISSING = "missing"


def state(folder: Path) -> State:
    """The state of the job in a folder; one that has none is missing. A damaged value never counts as finished."""
    return State.RUNNING if holder(folder) else _left(folder)


def _left(folder: Path) -> State:
    """The state, whoever works there."""
    if damaged(folder):
        return State.DAMAGED
    if (folder / VALUE).is_file():
        return State.FINISHED
    if (folder / ERROR).is_file():
        return State.FAILED
    return State.INTERRUPTED if (folder / LAST_CHECKPOINT).is_file() else State.MISSING


def damaged(folder: Path) -> list[str]:
    """The files of a job that are there, but not as they were written: a full disk or a power cut leaves such."""
    readers = {CONFIG: read_config, VALUE: read_json, METRICS: read_json}
    return [name for name, read in readers.items() if (folder / name).exists() and not is_whole(folder / name, read)]


def is_lost_by_running(folder: Path) -> bool:
    """Whether a job has results there that may be another's: its config, which would tell, is damaged."""
    return has_results(folder) and CONFIG in damaged(folder)


def read_config(path: Path) -> DictConfig:
    """A job's config, resolved as it was written: plain values, of which none chooses what runs.

    Raises:
        UserError: it is damaged, or holds interpolations or anything but plain values.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: damaged ({shortened(one_line(error))})") from error
    end = "\n...\n" if text.startswith("---") else "\n"  # those of before have no marks around them
    if not (isinstance(content, dict) and isinstance(content.get("run_dir"), str) and text.endswith(end)):
        raise UserError(f"{path}: damaged, it ends too early")
    check_plain(content, str(path))
    return OmegaConf.create(content)


def run_once(task: Callable[[DictConfig], Any], config: DictConfig) -> Any:
    """Run a job unless it has finished before, and leave in its folder what it returned or its traceback.

    Raises:
        RuntimeError: whatever the job raised, as one line that any process can send to any other.
        UserError: another job has used the folder, or is running in it.
    """
    with lock(Path(config.run_dir), "sweep job"):
        return _run(task, config)


def _run(task: Callable[[DictConfig], Any], config: DictConfig) -> Any:
    folder = Path(config.run_dir)
    changed = differences(folder, config)
    if changed and has_results(folder):
        raise UserError(f"{folder} holds a job with another config ({changed[0]}): delete it, or choose another folder")
    if _left(folder) is State.FINISHED:
        return read_json(folder / VALUE)
    if changed or not (folder / CONFIG).is_file():  # else it is kept: it says what the job first started from
        save_config(config)
    if is_first_process():
        (folder / ERROR).unlink(missing_ok=True)
    try:
        value = task(config)
    except Exception as error:
        if is_first_process():
            write(folder / ERROR, traceback.format_exc())
        raise RuntimeError(f"{one_line(error)} (traceback: {folder / ERROR})") from error
    if is_first_process():
        write_json(folder / VALUE, value)
    return value


def has_results(folder: Path) -> bool:
    """Whether a job has computed something there that would be lost."""
    return any((folder / name).is_file() for name in (VALUE, LAST_CHECKPOINT))


def differences(folder: Path, config: DictConfig) -> list[str]:
    """The knobs in which a folder's job, if any, differs from `config`, each as `knob=theirs, now ours`."""
    if not (folder / CONFIG).exists():
        return []
    if CONFIG in damaged(folder):
        return [f"its {CONFIG} is damaged"]
    configs: tuple[Any, ...] = (read_config(folder / CONFIG), config)
    theirs, ours = map(knobs, configs)
    names = [name for name in sorted(theirs.keys() | ours.keys()) if theirs.get(name) != ours.get(name)]
    if any(each.get("ckpt_path") == LAST for each in configs):  # goes on, whatever it first started from
        names = [name for name in names if name != "ckpt_path"]
    return [f"{name}={theirs.get(name)}, now {ours.get(name)}" for name in names]


def knobs(config: Any) -> dict[str, Any]:
    """All knobs of a job by their dotted names, but for those that only say where it is, what it goes on from, and what
    the sweep checks before it and compares with in the end.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    folder = str(plain["run_dir"])
    leaves = _leaves(plain, "")
    return {
        name: value.replace(folder, "<run_dir>") if isinstance(value, str) else value
        for name, value in leaves.items()
        if name != "output" and not name.startswith("reproduction.") and (name, value) != ("ckpt_path", LAST)
    }


def _leaves(value: Any, name: str) -> dict[str, Any]:
    """The leaves of nested dicts and lists by their dotted names."""
    if not isinstance(value, dict | list):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {path: leaf for key, item in items for path, leaf in _leaves(item, f"{name}.{key}".lstrip(".")).items()}
