"""What `precision=auto` means on a machine: bfloat16 where its processor has it, never emulated."""

import logging

import torch

_log = logging.getLogger(__name__)


def resolved(precision: str | None, device_type: str) -> str | None:
    """Lightning's name of a precision; where it is `auto`, of the one that suits this machine, and a line says which.

    Args:
        precision: one of Lightning's, which stays, or auto: bf16-mixed where bfloat16 is native, 32-true elsewhere.
        device_type: `cpu`, `cuda` …
    """
    if precision != "auto":
        return precision
    native = native_bfloat16(device_type)
    chosen = "bf16-mixed" if native else "32-true"
    _log.info("precision=auto: %s, %s", chosen, native or f"no bfloat16 of its own on this {device_type}")
    return chosen


def native_bfloat16(device_type: str) -> str | None:
    """By what a device multiplies matrices of bfloat16 itself; None where PyTorch would emulate it."""
    if device_type == "cuda":
        return "CUDA" if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device_type == "cpu":
        extensions = {"AVX512-BF16": torch.cpu._is_avx512_bf16_supported, "AMX": torch.cpu._is_amx_tile_supported}
        return next((name for name, is_there in extensions.items() if is_there()), None)
    return None
