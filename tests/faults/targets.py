"""Files that would choose what runs: 26 targets in four containers, through every file that a command takes parts from.

Each target would make a file, the canary. It stands as a knob of a reducer, or in its place: in a dict within a list,
in a tuple, behind an interpolation, and as the value itself. The files are a checkpoint (its reducer, its head and its
experiment), an adapter's folder, and a sweep's `config.yaml`.
"""

import contextlib
import io
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.utils import instantiate
from safetensors.torch import save_file

from retrieval import load_model
from retrieval.errors import UserError
from retrieval.evaluate import main as evaluate
from retrieval.reducers import Pooling
from retrieval.sweeps.report import latency, write_report
from retrieval.training.module import RetrievalModule
from tests.sweeps.jobs import NONE, write_job

POOLING = {"_target_": "retrieval.reducers.Pooling", "frames": 12, "block": 2, "num_segments": 6}


def targets(canary: Path) -> list[dict[str, Any]]:
    """Configs that would make the canary; Hydra itself refuses the first three by their names, the others it runs."""
    path, here = str(canary), {"_target_": "pathlib.Path", "_args_": [str(canary)]}
    touch = {"_target_": "pathlib.Path.touch", "_args_": [here]}
    modules = ("gzip", "bz2", "lzma", "codecs")
    opened = [{"_target_": f"{module}.open", "filename": path, "mode": "w"} for module in modules]
    return [
        {"_target_": "os.system", "command": f"touch {path}"},
        {"_target_": "subprocess.Popen", "args": ["touch", path]},
        {"_target_": "builtins.exec", "_args_": [f"open({path!r}, 'w')"]},
        {"_target_": "os.mkdir", "path": path},
        {"_target_": "os.makedirs", "name": path},
        {"_target_": "os.mkfifo", "path": path},
        {"_target_": "os.open", "path": path, "flags": 65},
        {"_target_": "builtins.open", "file": path, "mode": "w"},
        {"_target_": "io.open", "file": path, "mode": "w"},
        {"_target_": "io.FileIO", "file": path, "mode": "w"},
        *opened,
        {"_target_": "logging.FileHandler", "filename": path},
        {"_target_": "zipfile.ZipFile", "file": path, "mode": "w"},
        {"_target_": "shutil.copyfile", "src": __file__, "dst": path},
        {"_target_": "numpy.savetxt", "fname": path, "X": [1]},
        {"_target_": "torch.save", "obj": 1, "f": path},
        {"_target_": "retrieval.reducers.tempme.torch.save", "obj": 1, "f": path},
        {"_target_": "retrieval.model.tuning.Path.touch", "self": here},
        {"_target_": "retrieval.jobs.files.write", "path": here, "text": "x"},
        touch,
        {"_target_": "hydra.utils.instantiate", "config": touch, "_recursive_": False},
        {"_target_": "hydra.utils.call", "config": touch},
        {"_target_": "hydra.utils.instantiate", "_args_": [touch], "_convert_": "all", "_recursive_": False},
    ]


def live(canary: Path) -> int:
    """How many of the targets do run where their config is the user's own: else it proves nothing that they do not."""
    found = 0
    for target in targets(canary):
        with contextlib.suppress(Exception):
            handle = instantiate(target)
            if hasattr(handle, "wait"):
                handle.wait()
            elif hasattr(handle, "close"):
                handle.close()
        found += canary.exists()
        if canary.exists():
            canary.rmdir() if canary.is_dir() else canary.unlink()
        else:
            print(f"not live: {target['_target_']}")
    return found


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda target: target,
    "list": lambda target: [{"a": target}],
    "tuple": lambda target: (target,),
    "interpolation": lambda target: (
        f"${{oc.create:{yaml.safe_dump(target, default_flow_style=True, width=10**6).strip()}}}"
    ),
}


@cache
def content() -> dict[str, Any]:
    """A checkpoint of ours."""
    module = RetrievalModule(load_model("ViT-tiny-8", Pooling(12, 2, 6)), parts={"reducer": POOLING, "head": None})
    found: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(found)
    return found | {"head": {"_target_": "retrieval.heads.Mean"}}


def checkpoint(folder: Path, **changes: Any) -> Path:
    """A checkpoint of ours with other parts than it was made with."""
    path = folder / "theirs.ckpt"
    torch.save(content() | changes, path)
    return path


def tries(value: Any, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each file that may hold a value of others, and what reads it."""
    reducer, head = POOLING | {"block": value}, {"_target_": "retrieval.heads.TokenWise", "weight_layers": value}
    for name, changes in (
        ("checkpoint, knob of its reducer", {"reducer": reducer}),
        ("checkpoint, its reducer", {"reducer": value}),
        ("checkpoint, knob of its head", {"head": head}),
        ("checkpoint, architecture", {"architecture": {"clip": value}}),
        ("checkpoint, hyper_parameters", {"hyper_parameters": value, "reducer": value}),
    ):
        yield name, lambda changes=changes: load_model(checkpoint(folder, **changes))  # type: ignore[misc]
    yield "adapter", lambda: load_model(adapter(folder, value))


def late_tries(values: list[Any], folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The same of files that take whole commands to read: a checkpoint's experiment, and a sweep of all values."""
    for number, value in enumerate(values[:4]):
        experiment = {"choices": {"data": value}, "knobs": {"data.frames": 12}}
        if number % 2:
            experiment = {"choices": {}, "knobs": {"data.root": value, "data.corpus.seed": value}}
        yield (
            "checkpoint, experiment",
            lambda experiment=experiment: call(evaluate, folder, checkpoint(folder, experiment=experiment)),  # type: ignore[misc]
        )
    yield "sweep's config.yaml", lambda: write_report(sweep(folder, values))


def adapter(folder: Path, value: Any) -> Path:
    text = yaml.safe_dump(value if not isinstance(value, tuple) else list(value))
    (folder / "adapter_config.json").write_text(text)
    save_file({"a": torch.zeros(1)}, folder / "adapter_model.safetensors", metadata={"config": text, "_target_": text})
    return folder / "adapter_model.safetensors"


def sweep(folder: Path, values: list[Any]) -> Path:
    """A sweep of which all jobs but one have a config of theirs, its tuples as YAML tells tuples."""
    write_job(folder / "sweep" / "ours", NONE, 0, 300.0)
    for number, value in enumerate(values):
        for name, reducer in (("knob", POOLING | {"block": value}), ("reducer", value)):
            job = folder / "sweep" / f"{name}{number}"
            write_job(job, NONE, 0, 300.0)
            config = yaml.safe_load((job / "config.yaml").read_text())
            (job / "config.yaml").write_text(yaml.dump(config | {"reducer": reducer}))
    return folder / "sweep"


def call(job: Callable[[], Any], folder: Path, path: Path) -> None:
    """Run a job as from the command line; its one line is a refusal."""
    before, sys.argv = sys.argv, ["job", f"ckpt_path={path}", f"output={folder}", f"data.root={folder}"]
    try:
        job()
    except SystemExit as error:
        raise UserError(str(error.code)) from error
    finally:
        sys.argv = before


def outcome(attempt: Callable[[], Any]) -> str:
    """`refused`, `read` where nothing but plain values was taken, or the error's name where it is a raw one."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            attempt()
    except UserError:
        return "refused"
    except Exception as error:
        return type(error).__name__
    return "read"


def main() -> None:
    """Try all of them and say how they came out."""
    logging.getLogger("retrieval").setLevel(logging.CRITICAL)
    latency.ROUNDS, latency.WARMUP = 1, 0
    counts: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as place:
        canary = Path(place, "canary")
        print(f"{live(canary)} of {len(targets(canary))} targets run where a user's own config names them")
        for container, wrap in CONTAINERS.items():
            folder = Path(place, container)
            folder.mkdir()
            values = [wrap(target) for target in targets(canary)]
            attempts = [attempt for value in values for attempt in tries(value, folder)]
            for name, attempt in (*attempts, *late_tries(values, folder)):
                found = outcome(attempt)
                if canary.exists():
                    canary.rmdir() if canary.is_dir() else canary.unlink()
                    found = "RAN"
                counts.setdefault(f"{name}, {container}", []).append(found)
    for key, found in counts.items():
        print(f"{key}: {', '.join(f'{found.count(each)} {each}' for each in dict.fromkeys(found))}")
    every = [each for found in counts.values() for each in found]
    print(f"{len(values)} targets, {len(CONTAINERS)} containers: {every.count('RAN')} ran")
    held = sum(each in ("refused", "read") for each in every)
    print(f"targets: held {held} of {len(every)}")
    sys.exit(held < len(every))


if __name__ == "__main__":
    main()
