"""Frame samplers: always as many frames as asked for, inside the part, in order, and even in time."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from retrieval.data.sampling import even_frames, is_variable, segment_frames

totals, counts = st.integers(1, 2000), st.integers(1, 64)
rates = st.floats(1, 120, allow_nan=False)


@given(totals, rates, counts, st.floats(0, 1, exclude_max=True), st.floats(0.01, 100), st.booleans())
def test_frames_are_as_many_as_asked_for_in_order_and_inside_the_clip(total, fps, count, begin, length, random):
    start = begin * (total - 1) / fps
    generator = torch.Generator().manual_seed(total) if random else None
    for sampler in (even_frames, segment_frames):
        indices = sampler(total, fps, count, start, start + length, generator)
        assert len(indices) == count
        assert indices == sorted(indices)
        assert indices[0] >= math.floor(start * fps)
        assert indices[-1] <= min(total - 1, math.ceil((start + length) * fps) - 1)


@given(totals, counts)
def test_even_sampling_is_symmetric_where_the_clip_is_short(total, count):
    fps = float(total)  # a part of one second at most
    _check_symmetric(even_frames(total, fps, count) if count > 1 else [], total)


@given(totals, counts)
def test_segment_centres_are_symmetric(total, count):
    _check_symmetric(segment_frames(total, 25.0, count), total)


def _check_symmetric(indices, total):
    mirrored = [total - 1 - index for index in reversed(indices)]
    middle = len(indices) // 2 if len(indices) % 2 and total % 2 == 0 else None  # no frame lies in the very middle
    assert all(a == b for place, (a, b) in enumerate(zip(indices, mirrored, strict=True)) if place != middle)


def test_even_sampling_takes_one_frame_a_second_then_evenly():
    assert even_frames(total=250, fps=25.0, count=10) == list(range(0, 250, 25))
    # 30 seconds: the published selection, numpy.linspace(0, 29, 4, dtype=int), of the frames 0, 25, 50, …
    assert even_frames(total=750, fps=25.0, count=4) == [0 * 25, 9 * 25, 19 * 25, 29 * 25]
    assert even_frames(total=750, fps=25.0, count=4, start=10.0, end=14.0) == [250, 275, 300, 325]


def test_a_higher_rate_offers_more_frames():
    assert even_frames(total=48, fps=24.0, count=4, rate=2.0) == [0, 12, 24, 36]


@given(st.integers(8, 500), st.integers(1, 8), st.integers(0, 2**31))
def test_segment_draws_stay_in_their_segments(total, count, seed):
    indices = segment_frames(total, 25.0, count, generator=torch.Generator().manual_seed(seed))
    for segment, index in enumerate(indices):
        assert math.floor(segment * total / count) <= index <= math.ceil((segment + 1) * total / count)


def test_short_videos_repeat_frames():
    assert even_frames(total=3, fps=30.0, count=6) == [0, 0, 1, 1, 2, 2]
    assert segment_frames(total=3, fps=30.0, count=6) == [0, 0, 1, 1, 2, 2]
    assert even_frames(total=1, fps=30.0, count=3) == [0, 0, 0]


@pytest.mark.parametrize("sampler", [even_frames, segment_frames])
def test_impossible_numbers_say_so(sampler):
    with pytest.raises(ValueError, match=r"starts at 4.0 s, but the video ends at 2.00 s"):
        sampler(50, 25.0, 4, start=4.0)
    with pytest.raises(ValueError, match=r"from 1.0 s to 1.0 s has no frame"):
        sampler(50, 25.0, 4, start=1.0, end=1.0)
    with pytest.raises(ValueError, match=r"data\.frames=0"):
        sampler(50, 25.0, 0)
    with pytest.raises(ValueError, match="nothing to sample"):
        sampler(0, 25.0, 4)


def test_rate_must_be_positive():
    with pytest.raises(ValueError, match=r"data\.sampler\.rate=0"):
        even_frames(50, 25.0, 4, rate=0.0)


VARIABLE = [*(n / 10 for n in range(20)), *(2.0 + n for n in range(10))]  # ten frames a second, then one
"""30 frames in 12 seconds: 2.5 a second on average, by which second 6 would be frame 15, shown at 1.5 s."""


def shown(indices):
    return [VARIABLE[index] for index in indices]


@pytest.mark.parametrize("offset", [0.0, 1.4])
def test_parts_of_a_variable_rate_are_cut_by_the_times_of_frames(offset):
    times = [time + offset for time in VARIABLE]  # MPEG-TS begins at 1.4 s
    assert shown(even_frames(30, 2.5, 4, 6.0, 10.0, times=times)) == [6.0, 7.0, 8.0, 9.0]
    assert shown(even_frames(30, 2.5, 2, 0.5, 1.0, times=times)) == [0.5, 0.9]
    assert shown(even_frames(30, 2.5, 3, 6.2, 6.8, times=times)) == [6.0, 6.0, 6.0]  # on the screen all the while
    assert set(shown(segment_frames(30, 2.5, 8, 6.0, 10.0, times=times))) == {6.0, 7.0, 8.0, 9.0}
    with pytest.raises(ValueError, match=r"starts at 12\.5 s, but the video ends at 12\.00 s"):
        even_frames(30, 2.5, 4, 12.5, times=times)


def test_even_sampling_of_a_variable_rate_is_even_in_time():
    assert shown(even_frames(30, 2.5, 12, times=VARIABLE)) == list(range(12))
    assert shown(even_frames(30, 2.5, 4, times=VARIABLE)) == [0, 3, 7, 11]  # numpy.linspace(0, 11, 4, dtype=int)
    assert shown(even_frames(30, 2.5, 5, 0.0, 2.0, times=VARIABLE)) == [0.0, 0.5, 0.9, 1.4, 1.9]
    assert even_frames(30, 2.5, 12) != even_frames(30, 2.5, 12, times=VARIABLE)


@given(totals, rates, counts, st.floats(0, 1, exclude_max=True), st.floats(0.01, 100))
def test_a_constant_rate_is_sampled_alike_with_and_without_times(total, fps, count, begin, length):
    start = begin * (total - 1) / fps
    times = [round(number / fps, 3) for number in range(total)]  # as Matroska rounds them
    picked = even_frames(total, fps, count, start, start + length, None, times)
    assert picked == even_frames(total, fps, count, start, start + length)


@given(st.lists(st.floats(0.001, 20), min_size=1, max_size=60), counts, st.floats(0, 1), st.floats(0.01, 100))
def test_frames_of_a_variable_rate_are_in_order_and_inside_the_part(steps, count, begin, length):
    times = [sum(steps[:number], 0.0) for number in range(len(steps) + 1)]
    start, fps = begin * times[-1], len(times) / (times[-1] + steps[-1])
    assume(is_variable(times, fps))
    for sampler in (even_frames, segment_frames):
        indices = sampler(len(times), fps, count, start, start + length, None, times)
        assert len(indices) == count
        assert indices == sorted(indices)
        assert all(times[index] < start + length for index in indices)
        assert all((*times, math.inf)[index + 1] > start for index in indices)
