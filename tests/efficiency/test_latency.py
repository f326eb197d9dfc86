"""Calls that are compared take turns; a round counts from its first to its last instruction."""

import pytest

from retrieval.efficiency import interleaved, latency


def test_calls_take_turns_and_warm_up_rounds_do_not_count():
    ran = []
    calls = {name: lambda name=name: ran.append(name) for name in "abc"}
    seconds = interleaved(calls, rounds=3, warmup=2)
    assert ran == list("abc") * 5
    assert {name: len(each) for name, each in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_call_takes_what_the_clock_says(monkeypatch):
    """A clock that only the calls advance: theirs is the time, and waiting for the device belongs to it."""
    now, queued = [0.0], [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])

    def launch(seconds):
        queued[0] += seconds

    def synchronize():
        now[0] += queued[0]
        queued[0] = 0.0

    monkeypatch.setattr(latency.torch.cuda, "synchronize", synchronize)
    calls = {"short": lambda: launch(1.0), "long": lambda: launch(3.0)}
    assert interleaved(calls, rounds=2, warmup=1, device="cuda") == {"short": [1.0, 1.0], "long": [3.0, 3.0]}
    queued[0] = 9.0  # left over from before: not the first call's
    assert interleaved(calls, rounds=1, warmup=0, device="cuda")["short"] == [1.0]


def test_progress_is_told_of_every_call():
    told = []
    interleaved({"a": int, "b": int}, rounds=1, warmup=1, finished=told.append)
    assert told == ["a", "b", "a", "b"]


@pytest.mark.parametrize(("rounds", "warmup"), [(0, 1), (1, -1)])
def test_impossible_rounds(rounds, warmup):
    with pytest.raises(ValueError, match=f"rounds={rounds}, warmup={warmup}"):
        interleaved({"a": int}, rounds=rounds, warmup=warmup)
