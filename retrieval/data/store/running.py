"""The work of `retrieval.prepare`, from a composed config to its files."""

import json
from dataclasses import asdict
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from retrieval.data import Preprocess, RetrievalDataModule
from retrieval.data.corpora import Corpus, Record
from retrieval.data.store.preparation import Report, prepare
from retrieval.errors import UserError
from retrieval.jobs.runs import start_run

NO_MODEL = {"preprocess": Preprocess(1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), "tokenizer": list}  # what is stored fits any


def run_prepare(config: DictConfig) -> None:
    """From the job's config to its files."""
    data: RetrievalDataModule = instantiate(config.data, **NO_MODEL)
    data.prepare_data()
    records = _records(data.corpus, list(config.splits))
    folder = start_run(config)
    reader = data.evaluation_reader
    report = prepare(records, data.store, reader.sampler, reader.frames, data.num_workers)
    _tell(report, folder / "report.json")


def _records(corpus: Corpus, splits: list[str]) -> list[Record]:
    try:
        return [record for split in splits if split in corpus.splits for record in corpus.records(split)]
    except ValueError as error:
        raise UserError(f"{error}; or leave splits out, as in splits=[test]") from error


def _tell(report: Report, path: Path) -> None:
    path.write_text(json.dumps(asdict(report), indent=2) + "\n")
    console = Console()
    console.print(
        f"{report.stored} videos stored, {report.decoded} of them decoded now; report: {path}", soft_wrap=True
    )
    for kind in ("missing", "unreadable", "short", "incomplete"):
        for message in getattr(report, kind):
            console.print(f"{kind}: {message}", soft_wrap=True, markup=False, highlight=False)
