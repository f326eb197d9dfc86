"""`precision=auto` takes bfloat16 where the device has it, whatever machine the tests run on."""

import logging

import pytest
import torch

from retrieval.model.precision import resolved


@pytest.mark.parametrize(
    ("avx512_bf16", "amx", "precision", "reason"),
    [(True, True, "bf16-mixed", "AVX512-BF16"), (False, True, "bf16-mixed", "AMX"), (False, False, "32-true", "no bf")],
)
def test_auto_takes_what_the_processor_has_and_says_so(monkeypatch, caplog, avx512_bf16, amx, precision, reason):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    with caplog.at_level(logging.INFO):
        assert resolved("auto", "cpu") == precision
    assert f"precision=auto: {precision}, {reason}" in caplog.text


@pytest.mark.parametrize("native", [True, False])
def test_auto_never_takes_what_a_gpu_emulates(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert resolved("auto", "cuda") == ("bf16-mixed" if native else "32-true")


def test_any_other_precision_stays_and_an_unknown_device_is_left_at_float32(caplog):
    assert resolved("16-mixed", "cpu") == "16-mixed"
    assert not caplog.text
    assert resolved("auto", "mps") == "32-true"
