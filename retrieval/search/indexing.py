"""The work of `retrieval.index`, from a composed config to an index."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from retrieval.data.decoder import CHECKS, video_opener
from retrieval.data.notes import Remembering
from retrieval.errors import UserError
from retrieval.jobs.announcing import announce, tell
from retrieval.jobs.files import write_json
from retrieval.jobs.keys import given_keys
from retrieval.jobs.runs import start_run
from retrieval.model import read_checkpoint
from retrieval.search.adding import Summary
from retrieval.search.cutting import Cut
from retrieval.search.encoder import Encoder, check_trained, located
from retrieval.search.index import Index
from retrieval.training.building import build_model, plain
from retrieval.training.experiment import recalled

FINDINGS = "findings.json"
OF_THE_MODEL = ("ckpt_path", "backbone", "reducer", "head", "words", "data.frames", "data.sampler", "data.short_side")
"""Knobs that say which model it is; where none is given, an index that is there says so."""


def run_index(asked: DictConfig) -> None:
    """Make the index or bring it up to date, and tell what came of it."""
    L.seed_everything(asked.seed, verbose=False)
    engine = instantiate(asked.engine)
    is_new = not Index.exists(asked.index)
    content = read_checkpoint(Path(asked.ckpt_path)) if asked.ckpt_path else {}
    config = recalled(asked, "index", content, asked.ckpt_path) if "architecture" in content else asked
    encoder = build_encoder(config, content) if is_new or _says_which_model() else None
    if is_new:
        assert encoder is not None
        Index.create(config.index, encoder, Cut(float(config.window), float(config.stride), config.shots))
    index = Index.open(config.index, encoder, config.ann)
    _check_cut(config, index.storage.about.cut)
    index.encoder.precision, index.encoder.compile = config.precision, config.compile
    index.encoder.to(_device(config.device))
    folder = start_run(config)
    asked.run_dir = config.run_dir  # for who cleans up after a mistake
    announce(_facts(config, index))
    summary = index.add(
        [config.root] if isinstance(config.root, str) else [str(root) for root in config.root],
        config.prune,
        config.batch_size,
        config.data.num_workers,
        _opener(config, index.encoder.short_side),
        engine,
    )
    write_json(folder / FINDINGS, asdict(summary))
    _tell(summary, index)


def build_encoder(config: DictConfig, content: dict[str, Any]) -> Encoder:
    """The model that a config names with how it reads.

    Args:
        config: with `ckpt_path` or `backbone`, `reducer`, `head`, `words` and `data`, as conf/index.yaml has them.
        content: of the checkpoint, where one is given.

    Raises:
        UserError: a backbone without weights.
    """
    weights = config.ckpt_path or config.backbone.source
    check_trained(weights)
    return Encoder(
        build_model(config, content),
        config.data.frames,
        config.words,
        instantiate(config.data.sampler),
        config.data.short_side,
        located(weights),
        plain(config.get("reducer")),
        plain(config.get("head")),
    )


def _says_which_model() -> bool:
    given = given_keys()
    return any(key.replace("/", ".").startswith(knob) for key in given for knob in OF_THE_MODEL)


def _check_cut(config: DictConfig, cut: Cut) -> None:
    """Raise UserError where the user wants videos cut in another way than the index has them."""
    for knob in asdict(cut).keys() & given_keys():
        if config[knob] != getattr(cut, knob):
            raise UserError(
                f"{knob}={config[knob]}, but the videos in {config.index} are cut with {cut}: leave {knob} out, or "
                "make another index (index=<folder>)"
            )


def _opener(config: DictConfig, short_side: int | None) -> Remembering:
    data = config.data
    if data.check not in CHECKS:
        raise UserError(f"data.check={data.check!r}: choose one of {', '.join(CHECKS)}")
    return Remembering(video_opener(instantiate(data.decoder), short_side, data.check, data.deadline), data.check)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: not there ({str(error).splitlines()[0]}); auto takes what is") from error
    return device


def _facts(config: DictConfig, index: Index) -> dict[str, str]:
    about = index.storage.about
    return {
        "index": f"{config.index}, {len(index.files):,} videos, {index.storage.count():,} moments so far",
        "model": str(about.model),
        "moments": str(about.cut),
        "device": str(index.encoder.device),
        "run": config.run_dir,
    }


def _tell(summary: Summary, index: Index) -> None:
    removed = f", {summary.pruned:,} of them removed" if summary.pruned else ""
    tell(
        f"{summary.found:,} videos: {summary.unchanged:,} unchanged, {summary.added:,} new, "
        f"{summary.replaced:,} changed; {summary.vanished:,} are not there any more{removed}",
        f"{summary.moments:,} moments of {summary.hours:.2f} hours of video were written; {index.storage.address} has "
        f"{len(index.moments):,}",
        *(f"broken: {error}" for error in summary.broken.values()),
        *(f"not seen: {message}" for message in summary.not_seen),
    )
