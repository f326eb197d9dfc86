"""Frame samplers: always as many frames as asked for, inside the part, in order, and even in time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.sampling import even_frames, segment_frames

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


def published_segments(total, count):
    """CenterCLIP's rule for evaluation written out: numbers among `total` frames."""
    if total <= count:
        return [min(place, total - 1) for place in range(count)]
    tick = total / float(count)
    return [int(tick / 2.0 + tick * place) for place in range(count)]


@given(totals, counts)
def test_segments_are_the_published_ones_in_evaluation(total, count):
    assert segment_frames(total, 25.0, count) == published_segments(total, count)


@given(totals, counts, st.integers(0, 2**31))
def test_segments_are_the_published_ones_in_training(total, count, seed):
    indices = segment_frames(total, 25.0, count, generator=torch.Generator().manual_seed(seed))
    if total < count:
        assert indices == [*range(total), *[total - 1] * (count - total)]
        return
    length = total // count
    assert [index // length for index in indices] == list(range(count))


def test_segment_draws_reach_every_frame_of_a_segment():
    generator = torch.Generator().manual_seed(0)
    draws = [segment_frames(23, 25.0, 4, generator=generator) for _ in range(200)]
    assert [set(places) for places in zip(*draws, strict=True)] == [
        set(range(start, start + 5)) for start in (0, 5, 10, 15)
    ]


def test_segments_choose_among_the_frames_at_a_rate():
    """As from a file that was re-encoded at 3 frames a second: 30 of 300."""
    at_rate = [round(number * 30 / 3) for number in range(30)]
    assert segment_frames(300, 30.0, 12, rate=3.0) == [at_rate[number] for number in published_segments(30, 12)]
    drawn = segment_frames(300, 30.0, 12, rate=3.0, generator=torch.Generator().manual_seed(0))
    assert set(drawn) <= set(at_rate)
    assert segment_frames(300, 30.0, 4, start=2.0, end=4.0, rate=3.0) == [60, 80, 90, 110]
    assert segment_frames(100, 25.0, 2, start=0.1, end=0.2, rate=3.0) == [2, 2]
    assert segment_frames(100, 2.0, 4, rate=3.0) == segment_frames(100, 2.0, 4)


def test_short_videos_repeat_frames():
    assert even_frames(total=3, fps=30.0, count=6) == [0, 0, 1, 1, 2, 2]
    assert segment_frames(total=3, fps=30.0, count=6) == [0, 1, 2, 2, 2, 2]
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


@pytest.mark.parametrize("sampler", [even_frames, segment_frames])
def test_rate_must_be_positive(sampler):
    with pytest.raises(ValueError, match=r"data\.sampler\.rate=0"):
        sampler(50, 25.0, 4, rate=0.0)
