"""Which parameters train: all (`full`), adapters of low rank and what is new (`lora`), only what is new (`frozen`).

LoRA (Hu et al., ICLR 2022) on the joint q-k-v projection of every attention layer of both towers, as TempMe tunes
CLIP, through peft.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from retrieval.errors import UserError

ADAPTER = "default"


def full(model: nn.Module) -> None:
    """Train every parameter."""
    model.requires_grad_(True)


def frozen(model: nn.Module) -> None:
    """Train what is not CLIP's: the reducer's parameters."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_new(name))


def lora(model: nn.Module, rank: int = 8) -> None:
    """Add adapters of scale 1 where there are none yet, and train them and the reducer's parameters.

    Raises:
        UserError: a rank below 1, or other than that of the adapters that the model came with.
    """
    present = lora_rank(model)
    if rank < 1 or present not in (None, rank):
        raise UserError(
            f"tuning.rank={rank}: " + (f"the weights come with rank {present}" if present else "at least 1")
        )
    if present is None:
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=["qkv"]), model, ADAPTER)
    frozen(model)


def is_new(name: str) -> bool:
    """Whether the parameter of this name is not one of CLIP's."""
    return ".lora_" in name or name.startswith("visual.reducer.")


def new_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of all that is not CLIP's."""
    return {name: value for name, value in model.state_dict().items() if is_new(name)}


def lora_rank(model: nn.Module) -> int | None:
    """The rank of the model's adapters, None without any."""
    return next((layer.r[ADAPTER] for _, layer in _adapted(model)), None)


def merge_lora(model: nn.Module) -> None:
    """Add the adapters into CLIP's weights, for inference at no cost."""
    for name, layer in list(_adapted(model)):
        layer.merge(safe_merge=True)
        model.set_submodule(name, layer.get_base_layer())


def save_adapter(model: nn.Module, folder: Path) -> None:
    """Write the adapters in peft's format, and the reducer's parameters, if any, beside them in `reducer.safetensors`.

    peft.PeftModel.from_pretrained(model, folder) reads the adapters back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = get_peft_model_state_dict(model, adapter_name=ADAPTER)
    configs: Any = model.peft_config
    configs[ADAPTER].save_pretrained(str(folder))
    save_file(
        {f"base_model.model.{name}": value.contiguous() for name, value in weights.items()},
        folder / "adapter_model.safetensors",
    )
    reducer = {name: value.contiguous() for name, value in new_weights(model).items() if ".lora_" not in name}
    if reducer:
        save_file(reducer, folder / "reducer.safetensors")


def _adapted(model: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer))
