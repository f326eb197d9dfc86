"""What a reducer has found in training, as knobs to use again."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from retrieval.files import write_whole
from retrieval.jobs.announcing import announce
from retrieval.reducers import Reducer

FILE = "reducer.yaml"


def keep_found(reducer: Reducer, option: dict[str, Any], folder: Path) -> None:
    """Tell the knobs that a reducer has found, and write its option with them to `reducer.yaml` of the run.

    The file is an option as those in conf/reducer are. A reducer that finds none leaves nothing.

    Args:
        reducer: trained.
        option: what it was built from, `_target_` and knobs.
        folder: the run's.
    """
    found = reducer.found()
    if not found:
        return
    settled = OmegaConf.create(option)
    for knob, value in found.items():
        OmegaConf.update(settled, knob, value)
    announce({f"found reducer.{knob}": f"{value}".lower() for knob, value in found.items()})
    write_whole(folder / FILE, OmegaConf.to_yaml(settled))
