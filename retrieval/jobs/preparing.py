"""The work of `retrieval.prepare`, from a composed config to its files."""

from dataclasses import asdict
from inspect import signature
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from retrieval.data import RetrievalDataModule
from retrieval.data.corpora import Corpus, Record
from retrieval.data.loading import worker_count
from retrieval.data.store.preparation import Findings, prepare
from retrieval.errors import UserError
from retrieval.jobs.announcing import tell
from retrieval.jobs.files import write_json
from retrieval.jobs.locks import hold
from retrieval.jobs.runs import start_run


def run_prepare(config: DictConfig) -> None:
    """From the job's config to its files; no model is needed, what is stored fits any."""
    data = config.data
    corpus = build_corpus(data)
    store, decoder, sampler = (instantiate(data[part]) for part in ("store", "decoder", "sampler"))
    corpus.prepare()
    records = _records(corpus, list(config.splits))
    hold(Path(data.store.folder), "prepare job", "data.store.folder=<folder> writes elsewhere")
    folder = start_run(config)
    workers = worker_count(data.num_workers)
    findings = prepare(records, store, decoder, sampler, data.frames, workers, data.check, data.deadline)
    _write(findings, folder / "findings.json")


def build_corpus(data: DictConfig) -> Corpus:
    """The corpus of a data config alone: its paths are all that the data module does not take itself."""
    ours = signature(RetrievalDataModule).parameters
    paths = {str(key): data[key] for key in data if key not in ours and not str(key).startswith("_")}
    return instantiate(data.corpus)(**paths)


def _records(corpus: Corpus, splits: list[str]) -> list[Record]:
    try:
        return [record for split in splits if split in corpus.splits for record in corpus.records(split)]
    except UserError as error:
        raise UserError(f"{error}; or leave splits out, as in splits=[test]") from error


def _write(findings: Findings, path: Path) -> None:
    write_json(path, asdict(findings))
    kinds = ("missing", "unreadable", "short", "incomplete", "repaired")
    tell(
        f"{findings.stored} videos stored, {findings.decoded} of them decoded now; findings: {path}",
        *(f"{kind}: {message}" for kind in kinds for message in getattr(findings, kind)),
        *(f"damaged: {video}: {damage}" for video, damage in findings.damaged.items()),
    )
