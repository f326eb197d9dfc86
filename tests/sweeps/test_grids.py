"""Which jobs a sweep has, by its grids and the command line, and that those of conf/sweep can run."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from retrieval.jobs.errors import REFUSALS
from retrieval.sweeps.grids import points
from retrieval.sweeps.outline import check_job, outline
from retrieval.sweeps.plugin import parse
from tests.jobs.commands import ROOT

SWEEPS = sorted(path.stem for path in (ROOT / "conf" / "sweep").glob("*.yaml"))
GRIDS = [{"reducer": "none,tome"}, {"reducer": "pooling", "reducer.num_segments": "2,4"}]


def configured(*overrides: str):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", ["run_dir=/nowhere", "name=job", *overrides])


def names(*arguments: str, grids=GRIDS, params=None) -> list[str]:
    return [point.name for point in points(grids, params or {}, list(arguments), parse)]


def test_grids_are_products_one_after_the_other():
    assert names(params={"seed": "0,1"}) == [
        "reducer-none__seed-0",
        "reducer-none__seed-1",
        "reducer-tome__seed-0",
        "reducer-tome__seed-1",
        "reducer-pooling__num_segments-2__seed-0",
        "reducer-pooling__num_segments-2__seed-1",
        "reducer-pooling__num_segments-4__seed-0",
        "reducer-pooling__num_segments-4__seed-1",
    ]


def test_the_command_line_goes_before_the_file():
    assert names("seed=7", params={"seed": "0,1"}) == [f"{name}__seed-7" for name in names()]
    segments = names("reducer.num_segments=3,6")
    assert segments == [
        "reducer-none",
        "reducer-tome",
        "reducer-pooling__num_segments-3",
        "reducer-pooling__num_segments-6",
    ]


def test_plain_overrides_are_one_grid_and_equal_jobs_are_one():
    assert names("reducer=none,tome", "optimizer.lr=0.1", grids=[]) == ["reducer-none", "reducer-tome"]
    assert names(grids=[*GRIDS, GRIDS[0]]) == names()
    assert names("trainer.max_epochs=1", grids=[]) == ["job"]


def test_names_are_safe_and_tell_jobs_apart():
    assert names("data.root='/a b/c',/d", grids=[]) == ["root-a-b-c", "root-d"]
    with pytest.raises(ValueError, match="would share the folder root-a-b"):
        names("data.root='/a b','/a/b'", grids=[])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name != "merge_ratio"))
        for name in SWEEPS
        if name not in ("search", "frontier")
    ],
)
def test_every_job_of_a_sweep_can_run_on_the_embedded_data(name):
    sweeper = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "sweep" / f"{name}.yaml").hydra.sweeper)
    jobs = points(sweeper.get("grids", []), sweeper["params"], ["seed=0"], parse)
    assert len(jobs) >= (24 if name == "ablation" else 6)
    for job in jobs:
        check_job(configured(*job.overrides))


def test_every_reducer_is_swept():
    sweeper = OmegaConf.load(ROOT / "conf" / "sweep" / "reducers.yaml").hydra.sweeper
    assert set(sweeper.params.reducer.split(",")) == {path.stem for path in (ROOT / "conf" / "reducer").glob("*.yaml")}


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_have_a_folder_of_their_name(name):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [f"+sweep={name}", "output=here"], return_hydra_config=True)
    assert config.hydra.sweep.dir == f"here/sweeps/{name}"


@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_launchers_compose(launcher):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [f"hydra/launcher={launcher}"], return_hydra_config=True)
    assert config.hydra.launcher._target_.startswith("hydra_plugins.")


def test_a_large_model_is_checked_without_its_weights():
    model = outline(configured("backbone=vit_l14", "reducer=tempme"))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    with pytest.raises(REFUSALS, match="num_segments=5"):
        check_job(configured("backbone=vit_b16", "reducer=kmedoids", "reducer.num_segments=5"))
