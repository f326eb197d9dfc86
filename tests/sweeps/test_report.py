"""The report of a sweep: means and deviations over seeds, the Pareto front, states, and what is left out."""

import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from retrieval.jobs.cells import csv_cell, markdown_cell
from retrieval.jobs.runs import CONFIG, METRICS
from retrieval.report import main
from retrieval.sweeps.report import pareto_front, write_report
from retrieval.sweeps.report.jobs import read_sweep, reducer_name
from retrieval.sweeps.report.latency import measure
from retrieval.sweeps.report.rows import GAIN, _cost, summarize
from retrieval.sweeps.report.table import facts, overview
from retrieval.sweeps.states import VALUE
from tests.sweeps.jobs import NONE, chain, write_job

KMEDOIDS = {"_target_": "retrieval.reducers.KMedoids", "frames": 4, "num_segments": 2}
POOLING = {"_target_": "retrieval.reducers.Pooling", "frames": 4, "block": 2, "num_segments": 2}
number = st.integers(0, 6).map(float)


@pytest.fixture
def sweep(tmp_path) -> Path:
    for seed, r_sum in enumerate([300.0, 310.0, 320.0]):
        write_job(tmp_path / f"none{seed}", NONE, seed, r_sum)
    for segments, ratio, r_sum in [(1, 0.1, 290.0), (1, 0.3, 280.0), (2, 0.1, 315.0), (2, 0.3, None)]:
        write_job(tmp_path / f"chain{segments}{ratio}", chain(segments, ratio), 0, r_sum, gmacs=0.1 * segments)
    return tmp_path


def test_jobs_that_differ_in_their_seed_are_one_row(sweep):
    write_report(sweep, measure_latency=False)
    rows = pd.read_csv(sweep / "report.csv").set_index("reducer")
    none = rows.loc["none"]
    assert (none[GAIN], none[f"{GAIN} sd"], none["seeds"]) == (310.0, 10.0, 3)
    assert len(rows.loc["Pooling + TempMe"]) == 4


def test_knobs_are_those_in_which_jobs_differ_and_no_others(sweep):
    write_report(sweep, measure_latency=False)
    rows = pd.read_csv(sweep / "report.csv")
    assert list(rows.columns)[:3] == ["reducer", "num_segments", "merge_ratio"]  # neither `frames`, which follows
    assert "block" not in rows


def test_numbers_of_another_protocol_have_a_row_of_their_own_and_beat_nobody(tmp_path):
    for seed, (selected_on, r_sum) in enumerate([("val", 300.0), ("test", 330.0), ("val", 304.0), ("test", None)]):
        write_job(tmp_path / str(seed), NONE, seed, r_sum, selected_on=selected_on)
    text = write_report(tmp_path, measure_latency=False)[1].read_text()
    rows = pd.read_csv(tmp_path / "report.csv")
    assert rows[[GAIN, "seeds", "protocol.training.selected_on"]].to_numpy().tolist() == [
        [302.0, 2, "val"],
        [330.0, 1, "test"],
    ]
    assert rows["protocol.hardware"].tolist() == ["1 x CPU", "1 x CPU"]
    assert rows["protocol.training.seed"].tolist() == ["0 / 2", "1"]
    assert rows["state"].tolist() == ["2 finished, 1 failed", "finished"]  # a failed job says nothing of its protocol
    assert rows[f"{GAIN} sd"].isna().tolist() == [False, True]  # of one seed there is no deviation
    assert rows["front by GMACs"].all()
    assert "Protocol 1" in text
    assert "Protocol 2" in text
    assert "330.0 |" in text


def columns_and_rows(folder: Path) -> tuple[list[str], list[tuple]]:
    rows, columns = summarize(read_sweep(folder))
    return columns, [tuple(row) for row in rows[[*columns, "seeds"]].to_numpy()]


def test_parts_of_other_classes_have_a_column_each(tmp_path):
    for number, (head, loss) in enumerate(
        [("Mean", "One"), ("Mean", "Two"), ("TokenWise", "One"), ("TokenWise", "Two")]
    ):
        parts = {"head": {"_target_": f"some.{head}"}, "loss": {"_target_": f"some.{loss}"}}
        write_job(tmp_path / str(number), NONE, 0, 300.0, **parts)
    columns, rows = columns_and_rows(tmp_path)
    assert columns == ["head", "loss"]
    assert rows == [("Mean", "One", 1), ("Mean", "Two", 1), ("TokenWise", "One", 1), ("TokenWise", "Two", 1)]


def test_knobs_of_one_name_in_one_job_have_their_dotted_names(tmp_path):
    for number, blocks in enumerate([(1, 2), (1, 3), (2, 2), (2, 3)]):
        reducer = chain(2, 0.1)
        for part, block in zip(reducer["reducers"], blocks, strict=True):
            part["block"] = block
        write_job(tmp_path / f"chain{number}", reducer, 0, 300.0)
    columns, rows = columns_and_rows(tmp_path)
    assert columns == ["reducer.reducers.0.block", "reducer.reducers.1.block"]
    assert rows == [(1, 2, 1), (1, 3, 1), (2, 2, 1), (2, 3, 1)]


def test_knobs_of_one_name_in_different_reducers_share_a_column(tmp_path):
    for segments in (1, 2):
        write_job(tmp_path / f"chain{segments}", chain(segments, 0.1), 0, 300.0)
        pooling = {"_target_": "retrieval.reducers.Pooling", "num_segments": segments}
        write_job(tmp_path / f"pooling{segments}", pooling, 0, 300.0)
    assert columns_and_rows(tmp_path) == (["num_segments"], [(1, 1), (2, 1)] * 2)


def test_what_follows_from_a_knob_does_not_split_seeds(tmp_path):
    for root in "ab":
        for seed in (0, 1):
            data = {"root": root, "store": {"root": root, "folder": f"{root}/frames"}}
            write_job(tmp_path / f"{root}{seed}", NONE, seed, 300.0, data=data, name=f"{root}-{seed}")
    assert columns_and_rows(tmp_path) == (["root"], [("a", 2), ("b", 2)])


def test_a_knob_cannot_take_a_column_of_the_report(tmp_path):
    for tokens in (1, 2):
        write_job(tmp_path / str(tokens), NONE, 0, 300.0, head={"tokens": tokens})
    assert columns_and_rows(tmp_path) == (["head.tokens"], [(1, 1), (2, 1)])


def test_what_depends_on_the_pixels_is_told_as_measured_with_head_and_reducer():
    costs = {"video_gmacs": 0.5, "tower_gmacs": 0.4, "output_tokens": 300, "parameters": 9}
    means = {"mean_tower_gmacs": 0.15, "mean_output_tokens": 80.5}
    found = [[_cost(each, column) for column in ("GMACs", "tokens", "parameters")] for each in (costs, costs | means)]
    assert found == [[0.5, 300, 9], [pytest.approx(0.25), 80.5, 9]]


def test_evaluated_checkpoints_are_rows_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval.sweeps.report.writing.latencies", lambda *_: pytest.fail("of an unknown model"))
    for number, (checkpoint, r_sum) in enumerate([("a.ckpt", 300.0), ("b.ckpt", 310.0), ("c.ckpt", None)]):
        write_job(tmp_path / str(number), None, 0, r_sum, ckpt_path=checkpoint)
    write_report(tmp_path)
    rows = pd.read_csv(tmp_path / "report.csv")
    assert rows["reducer"].tolist() == ["some", "some", "-"]
    assert rows["ckpt_path"].tolist()[:2] == ["a.ckpt", "b.ckpt"]
    assert overview(sorted(path for path in tmp_path.iterdir() if path.name.isdigit()))


def test_failed_jobs_are_rows_with_their_state(sweep):
    write_report(sweep, measure_latency=False)
    rows = pd.read_csv(sweep / "report.csv")
    failed = rows[(rows["num_segments"] == 2) & (rows["merge_ratio"] == 0.3)].iloc[0]
    assert (failed["state"], failed["seeds"]) == ("1 failed", 0)
    assert np.isnan(failed[GAIN])
    assert "6 of 7 jobs have finished" in (sweep / "report.md").read_text()


def test_damaged_jobs_are_rows_with_their_state_and_take_nothing_from_the_others(sweep):
    for number, file in enumerate([CONFIG, VALUE, METRICS]):
        write_job(sweep / f"damaged{number}", NONE, number + 3, 500.0)
        (sweep / f"damaged{number}" / file).write_text("")
    write_job(sweep / "foreign", NONE, 6, 500.0)
    (sweep / "foreign" / METRICS).write_text("{}\n")
    rows, columns = summarize(jobs := read_sweep(sweep))
    assert columns == ["num_segments", "merge_ratio"]
    states = dict(zip(rows["reducer"], rows["state"], strict=True))
    assert states["damaged0"] == "1 damaged"  # a job without its config goes by its folder
    assert states["none"] == "3 damaged, 3 finished"
    assert rows.set_index("reducer").loc["none", GAIN] == 310.0
    assert facts(jobs, None)[0] == "6 of 11 jobs have finished."


def test_the_text_holds_all_and_says_what_the_numbers_are_of(sweep):
    text = write_report(sweep, measure_latency=False)[1].read_text()
    assert "Protocol 1: split: test, 5 videos, 9 captions (1.8 a video); frames: 4 (even_frames), 32 words;" in text
    assert "32-true on 1 x CPU, seed 0 / 32-true on 1 x CPU, seed 1" in text
    assert "chosen: by val/both/r_sum on val" in text
    assert "Protocol 2" not in text
    assert "310.0 ± 10.0" in text
    assert "No picture against latency (ms): not measured." in text
    pictures = sorted(str(path.relative_to(sweep)) for path in sweep.glob("figures/*.png"))
    assert pictures == sorted(re.findall(r"\]\((.*)\)", text))
    # two gains against GMACs, both knobs, and the map of the two
    assert len(pictures) == len(list(sweep.glob("figures/*.svg"))) == 5


def test_the_overview_has_a_line_for_each_setting_and_cuts_nothing(sweep):
    lines = overview(sorted(path for path in sweep.iterdir())).splitlines()
    assert lines[0].split("  ")[-1].strip() == "GMACs"
    assert [line.split()[0] for line in lines[1:]] == ["Pooling"] * 4 + ["none"]
    assert "310.0 ± 10.0" in lines[-1]
    assert "1 failed" in lines[4]


def test_the_front_is_marked(sweep):
    write_report(sweep, measure_latency=False)
    rows = pd.read_csv(sweep / "report.csv")
    assert rows[rows["front by GMACs"]][GAIN].tolist() == [290.0, 315.0]  # none costs as much and has 310


def test_pictures_without_data_are_left_out_and_named(tmp_path):
    write_job(tmp_path / "none0", NONE, 0, 300.0)
    write_report(tmp_path, measure_latency=False)
    text = (tmp_path / "report.md").read_text()
    assert "No curves: " in text
    assert "No heat map: " in text
    pictures = sorted(path.name for path in (tmp_path / "figures").glob("*.png"))
    assert pictures == ["both_r_sum_against_gmacs.png", "t2v_r_1_against_gmacs.png"]


def test_latency_is_measured_once_for_a_sweep(tmp_path, monkeypatch):
    write_job(tmp_path / "none0", NONE, 0, 300.0)
    taken: list[list[str]] = []

    def pretend(configs, left):
        taken.append(list(configs))
        return dict.fromkeys(configs, 2.5)

    monkeypatch.setattr("retrieval.sweeps.report.latency.measure", pretend)
    for _ in range(2):
        write_report(tmp_path)
    assert taken == [["none"]]
    assert pd.read_csv(tmp_path / "report.csv")["latency (ms)"].tolist() == [2.5]
    write_job(tmp_path / "other", POOLING, 0, 310.0)
    write_report(tmp_path)
    assert [len(names) for names in taken] == [1, 2]  # both again, so that they take turns
    stored = tmp_path / "latency.json"
    measured = json.loads(stored.read_text())
    for other in ({"device": "another"}, {"backbones": dict.fromkeys(measured["backbones"], "ViT-B-32")}):
        stored.write_text(json.dumps(measured | other))
        write_report(tmp_path)
        assert json.loads(stored.read_text()) == measured
    for damaged in ('{"milliseconds":', "[]", "{}"):
        stored.write_text(damaged)
        write_report(tmp_path)
        assert json.loads(stored.read_text()) == measured
    assert len(taken) == 7


def test_a_config_in_a_sweeps_folder_runs_nothing_and_the_report_is_written(tmp_path, monkeypatch, caplog):
    """Rows whose models are not built from known classes alone have a dash, and a warning."""
    canary = tmp_path / "ran"
    touch = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [str(canary)]}}
    theirs = {"_target_": "their_report_reducers.Theirs"}
    reducers = [NONE, touch, chain(2, 0.1) | {"reducers": [touch]}, POOLING | {"block": touch}, theirs]
    for number, reducer in enumerate(reducers):
        write_job(tmp_path / "sweep" / str(number), reducer, 0, 300.0 + number)
    write_job(tmp_path / "sweep" / "frames", NONE, 0, 300.0, data={"frames": "many"})
    lines = {"oc": "x: ${oc.env:HOME}", "create": f'reducer: "${{oc.create:{touch}}}"', "torn": "a: ["}
    for name, line in lines.items():
        write_job(tmp_path / "sweep" / name, NONE, 0, 300.0)
        with (tmp_path / "sweep" / name / "config.yaml").open("a") as file:
            file.write(line + "\n")
    (tmp_path / "sweep" / "empty").mkdir()
    (tmp_path / "sweep" / "empty" / "config.yaml").touch()
    monkeypatch.setattr("retrieval.sweeps.report.latency.measure", lambda configs, left: dict.fromkeys(configs, 2.5))
    write_report(tmp_path / "sweep")
    assert not canary.exists()
    rows = pd.read_csv(tmp_path / "sweep" / "report.csv")
    measured = rows.loc[rows["latency (ms)"].notna(), "reducer"]
    assert measured.tolist() == ["none"]
    assert sorted(rows["state"]) == [*["1 damaged"] * 4, *["finished"] * 6]  # each goes by its folder
    parts = (
        "the key _args_",
        "frames=many",
        "interpolation ${oc.env",
        "interpolation ${oc.create",
        "config.yaml: damaged",
    )
    for text in parts:
        assert text in caplog.text
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_report_reducers.py").write_text(
        "from retrieval.reducers import Reducer\nclass Theirs(Reducer): ..."
    )
    (tmp_path / "conf" / "reducer").mkdir(parents=True)
    (tmp_path / "conf" / "reducer" / "theirs.yaml").write_text("_target_: their_report_reducers.Theirs\n")
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "sweep"), f"--config-dir={tmp_path / 'conf'}"])
    main()
    rows = pd.read_csv(tmp_path / "sweep" / "report.csv")
    assert rows.loc[rows["latency (ms)"].notna(), "reducer"].tolist() == ["none", "Theirs"]


def test_a_model_that_cannot_run_has_no_latency(caplog):
    models = {"none": ("ViT-tiny-8", NONE), "other": ("ViT-Z", NONE), "many": ("ViT-tiny-8", KMEDOIDS | {"frames": 7})}
    configs = {
        name: OmegaConf.create({"backbone": {"source": source}, "reducer": reducer, "data": {"frames": 2}})
        for name, (source, reducer) in models.items()
    }
    assert measure(configs).keys() == {"none"}
    assert "no latency of other: unknown backbone 'ViT-Z'" in caplog.text
    assert "no latency of many: " in caplog.text


def test_names_of_others_are_text_in_the_report(tmp_path):
    """No HTML, no link, no row of its own in Markdown; nothing that a spreadsheet computes in CSV."""
    names = ["=cmd|' /C calc'!A0", "<img src=x onerror=alert(1)>", "a|b\n| c", "[x](http://y)", "$\\frac$", "@SUM(A1)"]
    for number, name in enumerate(names):
        write_job(
            tmp_path / "a`b" / str(number), NONE, 0, 300.0, name="n", head={"_target_": "some.Mean", "knob": name}
        )
    csv, text = (path.read_text() for path in write_report(tmp_path / "a`b", measure_latency=False))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(names)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(re.findall(r"\|", table[1]))}
    assert not re.findall(r"<\w|(?<!\\)(?<!!)\[(?!R-Sum)|(?<!\\)`", text)
    cells = pd.read_csv(io.StringIO(csv))["knob"].tolist()
    assert cells[0] == "'=cmd|' /C calc'!A0"
    assert cells[-1] == "'@SUM(A1)"
    assert cells[2] == "a|b | c"


@given(st.text() | st.floats() | st.integers())
def test_a_cell_is_one_line_that_computes_nothing(value):
    cell, text = csv_cell(value), markdown_cell(value)
    assert isinstance(cell, type(value))
    if isinstance(cell, str):
        assert cell[:1] not in "=+@\t\r" or re.fullmatch(r"[+]?[\d.eE+-]+", cell) or not cell
        assert csv_cell(cell) == cell
    assert len(text.splitlines()) <= 1
    assert not re.search(r"[<>]|(?<!\\)(\\\\)*[|`\[\]*]", text)


@pytest.mark.parametrize("number", ["-1", "+1.5e-3", "-.5", "-", "1-2"])
def test_numbers_and_dashes_stay_as_they_are(number):
    assert csv_cell(number) == number


def test_towers_of_one_backbone_are_timed_with_their_own_reducers():
    tome = {"_target_": "retrieval.reducers.ToMe", "image_merge": 1, "proportional_attention": True}
    configs = {
        name: OmegaConf.create({"backbone": {"source": "ViT-tiny-8"}, "reducer": reducer, "data": {"frames": 2}})
        for name, reducer in (("none", NONE), ("tome", tome))
    }
    found = measure(configs)
    assert found.keys() == configs.keys()
    assert all(value > 0 for value in found.values())


@given(st.lists(st.tuples(number, number), min_size=1, max_size=8))
def test_the_front_is_what_nothing_dominates(points):
    cost, gain = np.array(points).T
    front = pareto_front(cost, gain)
    for x, y, member in zip(cost, gain, front, strict=True):
        beaten = any((a <= x and b >= y) and (a < x or b > y) for a, b in points)
        assert member == (not beaten)


def test_points_without_a_value_are_never_on_the_front():
    cost, gain = np.array([1.0, np.nan, 2.0]), np.array([1.0, 9.0, np.nan])
    assert pareto_front(cost, gain).tolist() == [True, False, False]


def test_reducers_have_their_names():
    assert reducer_name(NONE) == "none"
    assert reducer_name(chain(2, 0.1)) == "Pooling + TempMe"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "no jobs in it"),
        (lambda folder: write_job(folder / "one", NONE, 0, None), "none of the 1 jobs has finished (one: failed"),
        (lambda folder: damage(folder), "none of the 1 jobs has finished (one: damaged"),
    ],
)
def test_bad_input_is_told_in_one_line(prepare, message, tmp_path, monkeypatch):
    prepare(tmp_path / "sweep")
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "sweep")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert str(stopped.value.code).startswith("error: ")
    assert message in str(stopped.value.code)


def damage(folder: Path) -> None:
    write_job(folder / "one", NONE, 0, 300.0)
    (folder / "one" / "metrics.json").write_text('{"metrics": ')
