"""The rows of a report: what one setting is, which knobs have a column, and what the numbers are of."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.jobs.cells import csv_cell, markdown_cell
from retrieval.sweeps.report import pareto_front
from retrieval.sweeps.report.jobs import read_sweep, reducer_name
from retrieval.sweeps.report.rows import _cost, summarize
from tests.sweeps.jobs import NONE, chain, write_job

number = st.integers(0, 6).map(float)


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
