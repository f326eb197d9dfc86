"""Which parameters train: all (`full`), adapters of low rank and what is new (`lora`), only what is new (`frozen`).

LoRA (Hu et al., ICLR 2022) on the joint q-k-v projection of every attention layer of both towers, as TempMe tunes
CLIP, through peft. What is new, and not CLIP's, is told by the modules that own it: reducer, head and adapters.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from retrieval.errors import UserError
from retrieval.model.adapters import AdaptedLinear
from retrieval.model.integrity import save_hashed

ADAPTER = "default"
TOWERS = r"(visual|text)\.blocks\.\d+\.attn\.qkv"
"""What peft adapts: the towers' own projections, not those of a head."""


def full(model: nn.Module) -> None:
    """Train every parameter."""
    model.requires_grad_(True)


def frozen(model: nn.Module) -> None:
    """Train what is not CLIP's: the parameters of the reducer, the head and adapters."""
    model.requires_grad_(False)
    for module in new_modules(model).values():
        module.requires_grad_(True)


def lora(model: nn.Module, rank: int = 8) -> None:
    """Add adapters of scale 1 where there are none yet, and train them and the parameters of reducer and head.

    Raises:
        UserError: a rank below 1, or other than that of the adapters that the model came with.
    """
    present = lora_rank(model)
    if rank < 1 or present not in (None, rank):
        raise UserError(
            f"tuning.rank={rank}: " + (f"the weights come with rank {present}" if present else "at least 1")
        )
    if present is None:
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TOWERS)
        config._register_custom_module({nn.Linear: AdaptedLinear})
        inject_adapter_in_model(config, model, ADAPTER)
    frozen(model)


def new_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that own what is not CLIP's, by name: the reducer, the head, and the two halves of each adapter."""
    new: dict[str, nn.Module] = {"visual.reducer": model.get_submodule("visual.reducer")}
    new["head"] = model.get_submodule("head")
    for name, layer in _adapted(model):
        new |= {f"{name}.lora_A": layer.lora_A, f"{name}.lora_B": layer.lora_B}
    return new


def new_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of all that is not CLIP's, under the model's names."""
    return {
        f"{owner}.{name}": value
        for owner, module in new_modules(model).items()
        for name, value in module.state_dict().items()
    }


def lora_rank(model: nn.Module) -> int | None:
    """The rank of the model's adapters, None without any."""
    return next((layer.r[ADAPTER] for _, layer in _adapted(model)), None)


def merge_lora(model: nn.Module) -> None:
    """Add the adapters into CLIP's weights, for inference at no cost."""
    for name, layer in list(_adapted(model)):
        layer.merge(safe_merge=True)
        model.set_submodule(name, layer.get_base_layer())


def save_adapter(model: nn.Module, folder: Path) -> None:
    """Write the adapters in peft's format, and beside them `reducer.safetensors` and `head.safetensors`, if any.

    peft.PeftModel.from_pretrained(model, folder) reads the adapters back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = get_peft_model_state_dict(model, adapter_name=ADAPTER)
    configs: Any = model.peft_config
    configs[ADAPTER].save_pretrained(str(folder))
    adapters = {f"base_model.model.{name}": value for name, value in weights.items()}
    save_hashed(adapters, folder / "adapter_model.safetensors")
    for part, module in (("reducer", "visual.reducer"), ("head", "head")):
        state = model.get_submodule(module).state_dict()
        if state:
            save_hashed({f"{module}.{name}": value for name, value in state.items()}, folder / f"{part}.safetensors")


def _adapted(model: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer))
