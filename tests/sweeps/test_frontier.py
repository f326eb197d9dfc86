"""The report of reducers at budgets: rows and pictures, the control, and what a reducer costs without training."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from retrieval.errors import UserError
from retrieval.reducers.rlt import run_lengths
from retrieval.report import main as report
from retrieval.sweeps.report import frontier, write_report
from retrieval.sweeps.report.charts import panels
from retrieval.sweeps.report.jobs import read_sweep
from retrieval.sweeps.report.latency import standing_still
from retrieval.sweeps.report.off_the_shelf import BEST, CHANGES, FILE, off_the_shelf, with_changes
from retrieval.sweeps.report.rows import BESIDE, GAIN, METRICS, R_AT_1, on_front, summarize
from retrieval.train import main as train
from tests.frontier import BEGIN, END, inserted
from tests.jobs.commands import call
from tests.sweeps.jobs import NONE, write_job

GMACS = {0.75: 0.15, 0.45: 0.09}
R_SUMS = {
    "none": {None: [400.0, 410.0, 420.0]},
    "random": {0.75: [300.0, 330.0, 360.0], 0.45: [200.0, 220.0, 240.0]},
    "tome": {0.75: [340.0, 350.0, 360.0], 0.45: [180.0, 190.0, 200.0]},
}


def reducer(name: str, budget: float | None) -> dict:
    settings = {
        "random": {"_target_": "retrieval.reducers.RandomPatches", "keep": budget, "blocks": [0]},
        "tome": {"_target_": "retrieval.reducers.ToMe", "image_merge": [1, budget]},
    }
    return settings.get(name, NONE)


def test_chance_is_told_where_a_video_has_one_caption(sweep):
    rows, jobs = rows_of(sweep)[0], read_sweep(sweep)
    one = replace(jobs[0].results.protocol, videos=20, captions=20)
    jobs = [replace(job, results=replace(job.results, protocol=one)) for job in jobs]
    assert "by chance R-Sum is 160." in frontier.text(rows, jobs)  # 5, 25 and 50 % in both directions


def test_off_the_shelf_needs_unreduced_models_that_were_trained_alike(sweep):
    jobs, none = read_sweep(sweep), read_sweep(sweep)[0].config
    with pytest.raises(UserError, match="differ in more than their seed"):
        off_the_shelf(sweep, jobs, {"none, tuning=lora": none}, measure_anew=True, conf=None)


@pytest.fixture
def sweep(tmp_path) -> Path:
    for name, budgets in R_SUMS.items():
        for budget, found in budgets.items():
            for seed, r_sum in enumerate(found):
                folder = tmp_path / f"reducer-{name}__budget-{budget}__seed-{seed}"
                knobs = {} if budget is None else {"budget": budget}
                write_job(folder, reducer(name, budget), seed, r_sum, gmacs=GMACS.get(budget, 0.2), **knobs)
                (folder / "checkpoints").mkdir()
                (folder / BEST).touch()
    return tmp_path


def rows_of(sweep: Path):
    return summarize(read_sweep(sweep))


def test_a_budget_is_a_knob_and_the_settings_found_for_it_are_none(sweep):
    rows, knobs = rows_of(sweep)
    assert knobs == ["budget"]
    assert rows["seeds"].tolist() == [3] * 5
    assert set(rows["label"]) == {
        "none",
        *(f"{name}, budget={b}" for name in ("RandomPatches", "ToMe") for b in (0.75, 0.45)),
    }


def test_the_table_has_the_unreduced_first_then_the_control_with_settings_and_shares(sweep):
    rows, _ = rows_of(sweep)
    table = frontier.table(rows, read_sweep(sweep))
    assert table["reducer"].tolist() == ["none", *["RandomPatches"] * 2, *["ToMe"] * 2]
    assert table["setting"].tolist() == [
        "-",
        "keep=0.75",
        "keep=0.45",
        "image_merge=[1, 0.75]",
        "image_merge=[1, 0.45]",
    ]
    assert table["share"].tolist() == ["100%", "75%", "45%", "75%", "45%"]
    assert table[GAIN].tolist()[1] == "330.0 ± 30.0"
    assert table[BESIDE].tolist()[:2] == ["+0.0 ± 0.0", "-80.0 ± 20.0"]  # of 300 - 400, 330 - 410 and 360 - 420


def test_without_one_unreduced_job_a_seed_there_is_nothing_to_stand_beside(sweep):
    shutil.rmtree(sweep / "reducer-none__budget-None__seed-1")
    rows = rows_of(sweep)[0].set_index("label")
    assert rows.loc["ToMe, budget=0.75", [BESIDE, f"{BESIDE} sd"]].tolist() == [-60.0, 0.0]  # of seeds 0 and 2
    shutil.copytree(sweep / "reducer-none__budget-None__seed-0", sweep / "twice")
    shutil.rmtree(sweep / "reducer-none__budget-None__seed-2")
    assert rows_of(sweep)[0][BESIDE].isna().all()


def test_pictures_have_error_bars_the_front_and_the_control_as_its_own_line(sweep):
    rows, _ = rows_of(sweep)
    figure = panels(rows, ["GMACs"], [GAIN, R_AT_1])
    for axis, gain in zip(figure.axes, (GAIN, R_AT_1), strict=True):
        bars = {each.get_label(): each for each in axis.containers}
        (control,) = (line for line in axis.lines if line.get_label() == "RandomPatches: the control")
        assert control.get_xydata()[:, 0].tolist() == [0.09, 0.15, 0.2]  # up to the unreduced model
        for name in ("none", "RandomPatches", "ToMe"):
            points = rows[rows["reducer"] == name].sort_values("GMACs")
            segments = bars[name].lines[2][0].get_segments()
            assert np.allclose([np.ptp(each[:, 1]) / 2 for each in segments], points[f"{gain} sd"])
        (front,) = (line for line in axis.lines if line.get_label() == "Pareto front")
        best = rows[on_front(rows, "GMACs", gain)].sort_values("GMACs")
        assert best["reducer"].tolist() == ["RandomPatches", "ToMe", "none"]
        assert np.allclose(front.get_xydata(), best[["GMACs", gain]].to_numpy())


def test_changes_are_paired_by_model(sweep):
    rows, _ = rows_of(sweep)
    none = [dict.fromkeys(METRICS.values(), value) for value in (10.0, 20.0, 30.0)]
    tome = [dict.fromkeys(METRICS.values(), value) for value in (8.0, 17.0, 26.0)]
    changed = with_changes(rows, {"none": none, "ToMe, budget=0.45": tome}).set_index("label")
    for column in CHANGES.values():
        assert changed.loc["ToMe, budget=0.45", [column, f"{column} sd"]].tolist() == [-3.0, 1.0]
        assert changed.loc["none", column] == 0.0
        assert np.isnan(changed.loc["ToMe, budget=0.75", column])


@pytest.mark.slow
def test_the_report_measures_off_the_shelf_once_and_only_when_asked(sweep, monkeypatch):
    asked = []

    def pretend(checkpoints, reducers, conf):
        asked.append((len(checkpoints), sorted(reducers)))
        return {label: [dict.fromkeys(METRICS.values(), 50.0 - len(label))] * 3 for label in reducers}

    monkeypatch.setattr("retrieval.sweeps.report.off_the_shelf.measure", pretend)
    jobs, configs = read_sweep(sweep), {job.folder.name: job.config for job in read_sweep(sweep)}
    assert off_the_shelf(sweep, jobs, configs, measure_anew=False, conf=None) is None
    paths = write_report(sweep, measure_latency=False, measure_off_the_shelf=True)
    assert asked == [(3, sorted(rows_of(sweep)[0]["label"]))]
    none = {"none": configs["reducer-none__budget-None__seed-0"]}
    assert off_the_shelf(sweep, jobs, none, measure_anew=True, conf=None).keys() == none.keys()
    assert len(asked) == 1  # the file has it
    whole = (sweep / FILE).read_text()
    assert "46.0" in whole
    for damaged in (whole[:-9], whole.replace("46.0", '"much"')):
        (sweep / FILE).write_text(damaged)
        assert off_the_shelf(sweep, jobs, none, measure_anew=False, conf=None) is None
    (sweep / FILE).write_text(whole)
    assert (sweep / "figures" / "off_the_shelf.png").is_file()
    assert (sweep / "figures" / "frontier.png").is_file()
    text = paths[-1].read_text()
    assert "-13.0 ± 0.0" in text  # ToMe, budget=0.45
    assert "by chance" not in text  # videos have several captions, the best of which counts
    page = inserted(f"before\n{BEGIN}old\n{END}after\n", text)
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "| ToMe | image\\_merge" in page or "| ToMe | image_merge" in page
    assert "old" not in page


def test_latency_of_a_reducer_that_looks_at_pixels_is_of_videos_as_still_as_those_measured():
    frames = torch.randint(0, 256, (2, 12, 3, 40, 40), dtype=torch.uint8)
    for kept in (25, 25 + 11 * 6, 25 * 12):
        videos = standing_still(frames, 12.0 + kept, 25)
        lengths, _ = run_lengths(videos.float(), 25, threshold=0.0)
        assert (lengths > 0).sum((1, 2)).tolist() == [kept, kept]


@pytest.mark.slow
def test_reducers_are_trained_at_a_budget_and_switched_on_in_what_was_trained_without(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", sys.argv)
    corpus = [f"data.corpus.{split}={count}" for split, count in (("train", 16), ("val", 8), ("test", 8))]
    few = [*corpus, "data.batch_size=8", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
    chosen = ["+sweep=frontier", "reducer=none,random", "budget=0.6", "seed=0", f"data.root={tmp_path}"]
    call(train, "-m", *chosen, *few, f"hydra.sweep.dir={tmp_path / 'jobs'}")
    assert "random for a budget of 60%" in capsys.readouterr().out
    call(report, str(tmp_path / "jobs"), "--no-latency", "--off-the-shelf")
    scores = json.loads((tmp_path / "jobs" / FILE).read_text())["scores"]
    trained = json.loads((tmp_path / "jobs" / "reducer-none__seed-0" / "metrics.json").read_text())["metrics"]
    assert scores["none"] == [{name: trained[name] for name in METRICS.values()}]  # as its own run has measured it
    assert scores.keys() == {"none", "RandomPatches, budget=0.6"}
    assert [set(each) for each in scores["RandomPatches, budget=0.6"]] == [set(METRICS.values())]
    assert (tmp_path / "jobs" / "figures" / "off_the_shelf.png").is_file()
