"""The papers' tables row by row: what was published, the command that asks for the same here, and what it costs.

`python -m tests.recipes` writes the tables of conf/experiment/README.md anew. The figures of others stand here, those
of rows with a reproduction in its `published.yaml`; GMACs, tokens and trained parameters are computed. Sources: tables
1 to 4 of CenterCLIP (Zhao et al., SIGIR 2022), which quote CLIP4Clip, and for checkpoints the README of its authors'
code; for TempMe (Shen et al., ICLR 2025) a careful reading of its tables by others.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from retrieval import load_model
from retrieval.efficiency.cost import cost, trained_parameters
from retrieval.jobs import CONF
from retrieval.jobs.resolvers import register_resolvers
from retrieval.model import CLIP
from retrieval.sweeps.reproduction.figures import published_row

PAGE = CONF / "experiment" / "README.md"
BEGIN, END = "<!-- tables: written by `python -m tests.recipes` -->\n", "<!-- end of the tables -->\n"
NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Row:
    """A published result: its name and figures as published, and the overrides that ask for it.

    Attributes:
        of: the dataset, as its option is called.
        name: what its authors call it.
        asks: overrides beside `data=…`; None where there is no recipe.
        t2v, v2t: recalls at 1, 5 and 10, or at 1.
        r_sum: the three text-to-video recalls added.
        memory: of training, a GPU.
        time: of inference.
        gflops, tokens: of the video tower, after the last block.
        reproduction: of `conf/reproduce`, where there is one.
    """

    of: str
    name: str
    asks: str | None
    t2v: str = NONE
    v2t: str = NONE
    r_sum: str = NONE
    memory: str = NONE
    time: str = NONE
    gflops: str = NONE
    tokens: str = NONE
    reproduction: str | None = None

    @property
    def command(self) -> str:
        """The command without what says where videos lie."""
        if self.asks is None:
            return NONE
        name = "train" if "experiment=" in self.asks else "evaluate"
        return f"`{name} data={self.of} {self.asks}`"


def _reproduced(reproduction: str, name: str, asks: str) -> Row:
    """A row whose figures stand in `published.yaml`."""
    row = published_row(reproduction)
    figures = {figure: str(each.value) for figure, each in (*row.metrics.items(), *row.costs.items())}
    memory = f"{figures['memory']} GB" if "memory" in figures else NONE
    return Row(
        reproduction.rpartition("_")[2],
        name,
        asks,
        t2v=" / ".join(figures[key] for k in (1, 5, 10) if (key := f"t2v/r_at_{k}") in figures) or NONE,
        v2t=figures.get("v2t/r_at_1", NONE),
        r_sum=figures.get("t2v/r_sum", NONE),
        memory=memory,
        time=_ms(figures.get("ms", NONE)),
        gflops=figures.get("gflops", NONE),
        tokens=figures.get("tokens", NONE),
        reproduction=reproduction,
    )


def _centerclip(of: str, name: str, asks: str, t2v: str, v2t: str, memory: str = NONE, ms: str = NONE) -> Row:
    return Row(of, name, asks, t2v, v2t, memory=memory if memory == NONE else f"{memory} GB", time=_ms(ms))


def _ms(ms: str) -> str:
    return ms if ms == NONE else f"{ms} ms"


def _lora(name: str, asks: str | None, **figures: str) -> Row:
    return Row("msrvtt", name, asks, **figures)


BASE, BASE_16 = "experiment=centerclip_baseline", "experiment=centerclip_baseline backbone=vit_b16"
KMEDOIDS, KMEDOIDS_16 = "experiment=centerclip", "experiment=centerclip_vit_b16"
SPECTRAL = "experiment=centerclip_spectral"
THREE, FOUR, SIX = (f"reducer.num_segments={number}" for number in (3, 4, 6))
LIST_7K = "data.corpus.partition=7k"
SEVEN_K = f"{LIST_7K} reducer.distance=minkowski reducer.p=1"
MEAN, SEQTRANSF = "CLIP4Clip, mean pooling", "CLIP4Clip, seqTransf"
OWN, OWN_16 = "mean pooling, run by CenterCLIP's authors", "the same on ViT-B/16"

ROWS = [
    _centerclip("msrvtt", "CLIP, zero-shot", "backbone=vit_b32", "31.2 / 53.7 / 64.2", "27.2"),
    _reproduced("clip4clip_msrvtt", MEAN, "experiment=clip4clip"),
    _centerclip("msrvtt", SEQTRANSF, "experiment=clip4clip_seqtransf", "44.5 / 71.4 / 81.6", "42.7"),
    _centerclip("msrvtt", OWN, BASE, "43.0 / 70.7 / 80.6", "43.1", "20.8", "24.4"),
    _reproduced("centerclip_msrvtt", "k-medoids++ (4, 49)", KMEDOIDS),
    _centerclip("msrvtt", "k-medoids++ (3, 49)", f"{KMEDOIDS} {THREE}", "44.0 / 70.7 / 81.4", "42.9", "14.2", "22.9"),
    _centerclip("msrvtt", "spectral (4, 49)", SPECTRAL, "43.6 / 71.7 / 80.6", "43.5", "14.9", "40.8"),
    _centerclip("msrvtt", "spectral (3, 49)", f"{SPECTRAL} {THREE}", "44.2 / 71.6 / 82.1", "42.8", "14.2", "43.6"),
    _centerclip("msrvtt", OWN_16, BASE_16, "45.6 / 71.2 / 80.9", "43.2", "25.7", "59.6"),
    _reproduced("centerclip_vit_b16_msrvtt", "ViT-B/16, k-medoids++ (4, 160)", KMEDOIDS_16),
    _centerclip("msrvtt", "checkpoint `eclip_msrvtt_62`", f"{KMEDOIDS} {SIX} {SEVEN_K}", "44.1", "41.9"),
    _centerclip("msrvtt", "checkpoint `eclip_msrvtt_63`", f"{KMEDOIDS} {SEVEN_K}", "44.2", "43.2"),
    _centerclip("msrvtt", "checkpoint `eclip_msrvtt_80`", f"{KMEDOIDS} reducer.block=7 {LIST_7K}", "43.9", "42.6"),
    _lora("LoRA, nothing merged", "experiment=lora", t2v="43.7", r_sum="193.0", gflops="53.0", tokens="600"),
    _lora(
        "merging inside frames only",
        "experiment=lora reducer=tome reducer.image_merge=2",
        t2v="42.9",
        r_sum="191.4",
    ),
    _lora(
        "temporal modelling only",
        "experiment=tempme reducer.image_merge=0 reducer.merge_ratio=0.0 reducer.intra_merge_ratio=0.0",
        r_sum="199.7",
        gflops="54.3",
        tokens="600",
    ),
    _lora("token reduction only", None, r_sum="188.8", gflops="34.7"),
    _reproduced("tempme_msrvtt", "TempMe", "experiment=tempme"),
    _lora("without positions", "experiment=tempme reducer.positions=false", t2v="0.4 less"),
    _lora("joined much earlier", "experiment=tempme reducer.join_blocks=[1,2,5]", t2v="40.8", gflops="18.1"),
    _lora("8 frames", "experiment=tempme data.frames=8 reducer.join_clips=[2,2,2]", r_sum="1.4 less"),
    _lora("18 frames", "experiment=tempme data.frames=18 reducer.join_clips=[2,3,3]", memory="16.410 GB"),
    _lora("VoP on ViT-B/16", None, r_sum="202.3", time="25.0 videos/s", gflops="246.2", tokens="2368"),
    _lora(
        "LoRA on ViT-B/16, nothing merged",
        "experiment=lora backbone=vit_b16",
        r_sum="201.4",
        gflops="211.3",
        tokens="2364",
    ),
    replace(
        _reproduced("tempme_vit_b16_msrvtt", "TempMe on ViT-B/16", "experiment=tempme_vit_b16"), time="45.1 videos/s"
    ),
    _lora("CLIP4Clip on ViT-B/16", "experiment=clip4clip backbone=vit_b16", r_sum="202.3", memory="70.1 GB"),
    _lora(
        "CLIP4Clip with TempMe on ViT-B/16",
        "experiment=tempme_full",
        r_sum="210.2",
        memory="52.7 GB",
        time="trains 1.57x faster",
    ),
    _centerclip("msvd", MEAN, "experiment=clip4clip", "46.2 / 76.1 / 84.6", "56.6"),
    _centerclip("msvd", OWN, BASE, "45.9 / 74.9 / 84.7", "51.0", "20.8", "24.4"),
    _reproduced("centerclip_msvd", "k-medoids++ (4, 49)", KMEDOIDS),
    _centerclip("msvd", "k-medoids++ (3, 49)", f"{KMEDOIDS} {THREE}", "47.3 / 76.8 / 85.6", "57.9", "14.2", "22.9"),
    _centerclip("msvd", "spectral (4, 49)", SPECTRAL, "47.4 / 76.5 / 85.2", "62.7", "14.9", "40.8"),
    _centerclip("msvd", "spectral (3, 49)", f"{SPECTRAL} {THREE}", "47.3 / 76.9 / 86.0", "63.5", "14.2", "43.6"),
    _centerclip("msvd", OWN_16, BASE_16, "49.6 / 79.5 / 88.0", "62.7", "25.7", "59.6"),
    _centerclip("msvd", "ViT-B/16, k-medoids++ (4, 160)", KMEDOIDS_16, "50.6 / 80.3 / 88.4", "68.4", "17.6", "86.5"),
    _centerclip("msvd", "checkpoint `eclip_msvd_22`", KMEDOIDS, "47.5", "61.4"),
    _centerclip("lsmdc", MEAN, "experiment=clip4clip", "20.7 / 38.9 / 47.2", "20.6"),
    _centerclip("lsmdc", SEQTRANSF, "experiment=clip4clip_seqtransf", "22.6 / 41.0 / 49.1", "20.8"),
    _centerclip("lsmdc", OWN, BASE, "20.1 / 40.2 / 48.4", "21.2", "20.8", "24.4"),
    _reproduced("centerclip_lsmdc", "k-medoids++ (6, 49)", f"{KMEDOIDS} {SIX}"),
    _centerclip("lsmdc", "k-medoids++ (4, 49)", KMEDOIDS, "21.7 / 39.8 / 49.8", "21.4", "15.0", "22.9"),
    _centerclip("lsmdc", "spectral (6, 49)", f"{SPECTRAL} {SIX}", "21.6 / 40.9 / 49.3", "20.6", "16.4", "40.8"),
    _centerclip("lsmdc", "spectral (4, 49)", SPECTRAL, "21.4 / 39.7 / 49.4", "19.5", "15.0", "43.6"),
    _centerclip("lsmdc", OWN_16, BASE_16, "24.1 / 45.0 / 55.1", "22.5", "25.7", "59.6"),
    _centerclip("lsmdc", "ViT-B/16, k-medoids++ (4, 160)", KMEDOIDS_16, "24.2 / 46.2 / 55.9", "24.5", "17.6", "86.5"),
    _reproduced("tempme_lsmdc", "TempMe", "experiment=tempme"),
    Row("didemo", MEAN, "experiment=clip4clip", "43.4"),
    _reproduced("tempme_didemo", "TempMe", "experiment=tempme"),
    _centerclip("activitynet", MEAN, "experiment=clip4clip", f"40.5 / 72.4 / {NONE}", "42.5"),
    _centerclip("activitynet", OWN, BASE, "41.8 / 73.9 / 84.7", "42.8", "25.0", "82.0"),
    _reproduced("centerclip_activitynet", "k-medoids++ (15, 49)", KMEDOIDS),
    _centerclip(
        "activitynet",
        "k-medoids++ (12, 49), the abstract's",
        f"{KMEDOIDS} reducer.num_segments=12",
        "43.5 / 75.0 / 85.9",
        "44.5",
        "16.2",
        "70.4",
    ),
    _centerclip(
        "activitynet",
        "spectral (20, 49)",
        f"{SPECTRAL} reducer.num_segments=20",
        "43.5 / 75.1 / 85.4",
        "44.1",
        "17.7",
        "162",
    ),
    _centerclip("activitynet", "spectral (15, 49)", SPECTRAL, "43.9 / 74.6 / 85.8", "44.5", "16.8", "174"),
    Row("activitynet", OWN_16, BASE_16, memory="too much for 32 V100"),
    _centerclip(
        "activitynet", "ViT-B/16, k-medoids++ (15, 160)", KMEDOIDS_16, "46.2 / 77.0 / 87.6", "46.7", "23.0", "419"
    ),
    _reproduced("tempme_activitynet", "TempMe", "experiment=tempme"),
]

SETS = {
    "msrvtt": "MSR-VTT 1k-A",
    "msvd": "MSVD",
    "lsmdc": "LSMDC",
    "didemo": "DiDeMo",
    "activitynet": "ActivityNet",
}
HEAD = [
    "published as",
    "`python -m retrieval.…`",
    "t2v R@1 / 5 / 10",
    "v2t R@1",
    "t2v R-Sum",
    "memory",
    "time",
    "GFLOPs",
    "tokens",
    "our GMACs",
    "our tokens",
    "trained parameters",
    "memory and time here",
]


def composed(row: Row) -> DictConfig:
    """The config of a row's command."""
    register_resolvers()
    name = row.command.strip("`").split()[0]
    overrides = [f"data={row.of}", f"data.root=/{row.of}", "run_dir=/nowhere", "name=row", *(row.asks or "").split()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides, return_hydra_config=True)


@cache
def tuned(source: str, head: str, tuning: str) -> CLIP:
    """A backbone with random weights and a head, tuned, on which all reducers stand; each argument a yaml."""
    read = [instantiate(OmegaConf.create(text), _convert_="all") for text in (head, tuning)]
    model = load_model(source.partition("/")[0], head=read[0]).train()
    read[1](model)
    return model


def computed(row: Row) -> dict[str, Any]:
    """GMACs of the tower as it trains, adapters beside the weights; tokens after the last block; trained parameters."""
    config = composed(row)
    head = config.get("head") or {"_target_": "retrieval.heads.Mean"}
    tuning = config.get("tuning") or {"_target_": "retrieval.model.tuning.full", "_partial_": True}
    base = tuned(config.backbone.source, OmegaConf.to_yaml(head), OmegaConf.to_yaml(tuning))
    reducer = config.get("reducer") or {"_target_": "retrieval.reducers.Reducer"}
    model = base.with_reducer(instantiate(reducer, _convert_="all"))
    of_it = cost(model, config.data.frames, config.words)
    trained = trained_parameters(model) if "experiment=" in (row.asks or "") else 0
    return {"gmacs": of_it["tower_gmacs"], "tokens": of_it["output_tokens"], "trained": trained}


def line(row: Row) -> str:
    """A row of the table."""
    ours = [NONE] * 3
    if row.asks is not None:
        values = computed(row)
        ours = [f"{values['gmacs']:.2f}", f"{values['tokens']:,}", f"{values['trained']:,}"]
    theirs = [row.t2v, row.v2t, row.r_sum, row.memory, row.time, row.gflops, row.tokens]
    return _cells([row.name, row.command, *theirs, *ours, NONE])


def table(rows: Iterable[Row]) -> Iterator[str]:
    yield _cells(HEAD)
    yield _cells(["---"] * len(HEAD))
    yield from map(line, rows)


def tables() -> str:
    """All tables, one a dataset."""
    parts = []
    for of, rows in groupby(ROWS, lambda row: row.of):
        parts.append("\n".join([f"### {SETS[of]}", "", *table(rows)]))
    return "\n" + "\n\n".join(parts) + "\n\n"


def shown(page: Path = PAGE) -> str:
    """The tables as the page has them."""
    found = re.search(re.escape(BEGIN) + "(.*)" + re.escape(END), page.read_text(), re.DOTALL)
    assert found, f"{page} has no tables"
    return found[1]


def main() -> None:
    before, after = PAGE.read_text().split(BEGIN + shown() + END)
    PAGE.write_text(before + BEGIN + tables() + END + after)


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
