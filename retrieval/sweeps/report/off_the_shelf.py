"""What a model that was trained without reduction loses when a reducer is switched on: its use without training.

The sweep's own unreduced models are measured again with every reducer, on the split and under the protocol that their
own results are of, all in one process; the split's frames are read once a model and kept in memory.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.progress import Progress
from torch.utils.data import DataLoader

from retrieval.errors import UserError
from retrieval.jobs import CONF
from retrieval.jobs.files import write_json
from retrieval.jobs.logs import leave_log_to_us
from retrieval.jobs.resolvers import register_resolvers
from retrieval.model import read_checkpoint
from retrieval.model.loading import model_of
from retrieval.model.saved import build_saved
from retrieval.model.tuning import merge_lora
from retrieval.reducers import Reducer
from retrieval.sweeps.report.jobs import JobResult
from retrieval.sweeps.report.latency import is_known
from retrieval.sweeps.report.rows import GAIN, METRICS, R_AT_1
from retrieval.training.building import build_datamodule, build_metrics, build_trainer, plain
from retrieval.training.experiment import recalled
from retrieval.training.module import RetrievalModule

FILE = "off_the_shelf.json"
BEST = Path("checkpoints", "best.ckpt")
CHANGES = {gain: f"change of {gain} off the shelf" for gain in (GAIN, R_AT_1)}
"""For each gain the column that tells by how much a reducer changes it without training."""
Scores = dict[str, list[dict[str, float]]]
"""For each reducer, by label, the metrics of each model."""


def off_the_shelf(
    folder: Path, jobs: list[JobResult], configs: Mapping[str, DictConfig], measure_anew: bool, conf: Path | None
) -> Scores | None:
    """The unreduced models' metrics with each reducer, from the sweep's `off_the_shelf.json` if it has them all.

    Args:
        folder: the sweep's.
        jobs: of the sweep.
        configs: a job's config for each reducer, by label, as read from its folder; the unreduced ones' among them.
        measure_anew: measure what the file lacks; else None where it lacks any.
        conf: the user's own conf.

    Raises:
        UserError: there is no unreduced model to measure.
    """
    if not measure_anew and not (folder / FILE).is_file():
        return None
    configs = {label: config for label, config in configs.items() if is_known(label, config, folder)}
    unreduced = [job for job in jobs if job.reducer == "none" and job.results and (job.folder / BEST).is_file()]
    of = {job.folder.name: job.results.metrics for job in unreduced if job.results}
    reducers = {label: plain(config.reducer) for label, config in configs.items()}
    what: dict[str, Any] = {"models": of, "reducers": reducers}
    if found := _stored(folder / FILE, what):
        return found
    if not measure_anew:
        return None
    if not unreduced:
        raise UserError(f"{folder}: no job without a reducer has finished, in whose checkpoint to switch reducers on")
    if "none" not in configs:
        raise UserError(
            f"{folder}: jobs without a reducer differ in more than their seed; off the shelf, reducers are compared in "
            "models that were trained alike: make a sweep for each setting"
        )
    scores = measure([job.folder / BEST for job in unreduced], reducers, conf)
    write_json(folder / FILE, what | {"scores": scores})
    return scores


def _stored(path: Path, what: dict[str, Any]) -> Scores | None:
    """What an earlier report has measured; None if that is damaged, or of other models or reducers."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same = found["models"] == what["models"] and found["reducers"].items() >= what["reducers"].items()
        scores = {label: found["scores"][label] for label in what["reducers"]}
        same &= "none" in scores and all(len(each) == len(what["models"]) for each in scores.values())
        of_models = [each[name] for each in chain(*scores.values()) for name in METRICS.values()]
        return scores if same and all(type(each) in (int, float) for each in of_models) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def measure(checkpoints: list[Path], reducers: Mapping[str, Any], conf: Path | None = None) -> Scores:
    """The metrics of each checkpoint's model with each reducer, whose own new parameters are as they start.

    Args:
        checkpoints: of models that were trained without a reducer.
        reducers: their configs, plain values, by label.
        conf: the user's own conf.
    """
    leave_log_to_us()
    scores: Scores = {label: [] for label in reducers}
    with Progress() as progress:
        task = progress.add_task("Switching reducers on", total=len(checkpoints) * len(reducers))
        for checkpoint in checkpoints:
            test = _tester(checkpoint, conf)
            for label, reducer in reducers.items():
                scores[label].append(test(build_saved(reducer, Reducer, label)))
                progress.advance(task)
    return scores


def _tester(checkpoint: Path, conf: Path | None) -> Callable[[Reducer], dict[str, float]]:
    """From a reducer to the metrics of a checkpoint's model with it, on the split that its run was tested on."""
    content = read_checkpoint(checkpoint)
    with _evaluation(conf) as asked:
        config = recalled(asked, "evaluate", content, str(checkpoint))
    config.run_dir = str(checkpoint.parents[1])
    model = model_of(content, str(checkpoint))
    merge_lora(model)
    data = build_datamodule(config, model, test_split=config.split)
    data.prepare_data()
    data.setup("test")
    batches: list[DataLoader[Any]] = [
        DataLoader(list(loader), batch_size=None, collate_fn=_as_it_is)  # type: ignore[arg-type]
        for loader in data.test_dataloader()
    ]
    trainer = build_trainer(config)

    def test(reducer: Reducer) -> dict[str, float]:
        L.seed_everything(config.seed, verbose=False)
        reduced = model.with_reducer(reducer).eval()
        module = RetrievalModule(reduced, metrics=build_metrics(config, reduced), seed=config.seed)
        logged = trainer.test(module, dataloaders=batches, verbose=False)[0]
        return {name: round(logged[f"test/{name}"], 4) for name in METRICS.values()}

    return test


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def _evaluation(conf: Path | None) -> Iterator[DictConfig]:
    """The config of `retrieval.evaluate`, with Hydra as a job of it would have it."""
    register_resolvers()
    search = [] if conf is None else [f"hydra.searchpath=['file://{conf.absolute()}']"]
    outer = HydraConfig.instance().cfg
    with initialize_config_dir(str(CONF), version_base="1.3"):
        HydraConfig.instance().set_config(compose("evaluate", search, return_hydra_config=True))
        try:
            yield compose("evaluate", search)
        finally:
            HydraConfig.instance().cfg = outer


def with_changes(rows: pd.DataFrame, scores: Scores) -> pd.DataFrame:
    """The rows with by how much each reducer changes the unreduced models' metrics, mean and deviation over models."""
    rows = rows.copy()
    base = scores["none"]
    for gain, column in CHANGES.items():
        name = METRICS[gain]
        found = {
            label: pd.Series([with_it[name] - without[name] for with_it, without in zip(each, base, strict=True)])
            for label, each in scores.items()
        }
        rows[column] = rows["label"].map({label: each.mean() for label, each in found.items()})
        rows[f"{column} sd"] = rows["label"].map({label: each.std() for label, each in found.items()})
    return rows
