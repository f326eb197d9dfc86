"""Jobs as a sweep leaves them."""

from pathlib import Path

from omegaconf import OmegaConf

from retrieval.jobs.files import write_json
from retrieval.jobs.protocol import Protocol, Training
from retrieval.jobs.results import Results
from retrieval.jobs.runs import CONFIG, ERROR
from retrieval.sweeps.report.rows import METRICS
from retrieval.sweeps.states import VALUE

COST = {"parameters": 10, "output_tokens": 8, "video_gmacs": 0.2, "text_gmacs": 0.1}
NONE = {"_target_": "retrieval.reducers.Reducer"}


def chain(segments: int, ratio: float) -> dict:
    pooling = {"_target_": "retrieval.reducers.Pooling", "frames": 4, "block": 2, "num_segments": segments}
    tempme = {"_target_": "retrieval.reducers.TempMe", "frames": segments, "merge_ratio": ratio}
    return {"_target_": "retrieval.reducers.Chain", "reducers": [pooling, tempme]}


def write_job(
    folder: Path,
    reducer: dict | None,
    seed: int,
    r_sum: float | None,
    gmacs: float = 0.2,
    selected_on: str = "val",
    **knobs: object,
) -> None:
    """A job as a sweep leaves it; failed where it has no result.

    Args:
        folder: its own.
        reducer: its config; None as in an evaluation.
        seed: the run's.
        r_sum: what it reached.
        gmacs: what it cost.
        selected_on: what its checkpoint was chosen on.
        knobs: all others that its config has beside `data.frames` and `data.seed`; `data` adds to those.
    """
    folder.mkdir(parents=True)
    config = {"run_dir": str(folder), "seed": seed, "reducer": reducer, "data": {"frames": 4, "seed": seed}}
    if reducer is None:
        del config["reducer"]
    config |= {"backbone": {"source": "ViT-tiny-8"}}
    OmegaConf.save(OmegaConf.merge(config, knobs), folder / CONFIG)
    if r_sum is None:
        (folder / ERROR).write_text("Traceback …")
        return
    training = Training(selected_by="val/both/r_sum", selected_on=selected_on, seed=seed)
    protocol = Protocol(
        split="test", videos=5, captions=9, frames=4, sampler="even_frames", words=32, precision="32-true", devices=1,
        seed=seed, hardware="1 x CPU", training=training,
    )  # fmt: skip
    Results(
        data="shapes", backbone="tiny", reducer="some", head="mean", protocol=protocol,
        checkpoint=f"best val/both/r_sum (epoch {seed})",
        cost=COST | {"video_gmacs": gmacs}, metrics=dict.fromkeys(METRICS.values(), r_sum / 6) | {"both/r_sum": r_sum},
    ).write(folder)  # fmt: skip
    write_json(folder / VALUE, 1.0)
