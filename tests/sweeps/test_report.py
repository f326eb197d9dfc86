"""The report of a sweep: means and deviations over seeds, protocols, states, and what is left out."""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrieval.jobs.runs import CONFIG, METRICS
from retrieval.report import main
from retrieval.sweeps.report import write_report
from retrieval.sweeps.report.jobs import read_sweep
from retrieval.sweeps.report.rows import GAIN, summarize
from retrieval.sweeps.report.table import facts, overview
from retrieval.sweeps.states import VALUE
from tests.sweeps.jobs import NONE, chain, write_job


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
