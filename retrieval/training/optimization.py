"""AdamW with separate rates for CLIP and for new parameters, linear warm-up and cosine decay."""

from collections.abc import Iterator
from itertools import product
from math import cos, pi
from typing import Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from retrieval.errors import UserError
from retrieval.model.tuning import new_modules


def adamw(
    model: nn.Module,
    loss: nn.Module,
    steps: int,
    lr: float,
    new_lr: float,
    weight_decay: float,
    warmup: float,
    betas: tuple[float, float] | list[float] = (0.9, 0.98),
    eps: float = 1e-6,
) -> tuple[AdamW, LambdaLR]:
    """Optimizer and its schedule, which is stepped with it.

    Args:
        model: its parameters that require gradients are trained.
        loss: so are its own, if any.
        steps: optimizer steps in the whole training.
        lr: peak rate of CLIP's own parameters, and of those of the reducer that start as such.
        new_lr: peak rate of new ones: those of adapters, reducer, head and loss.
        weight_decay: of matrices; norms, biases, embeddings of a single vector and the logit scale have none.
        warmup: share of the steps over which the rates rise from 0.
        betas: Adam's decay rates.
        eps: Adam's constant against division by zero.

    Raises:
        UserError: nothing to train, or a warm-up that is no share.
    """
    if not 0 <= warmup < 1:
        raise UserError(f"optimizer.warmup={warmup}: the share of the steps that warm up, from 0 to below 1")
    groups = list(parameter_groups(model, loss, lr, new_lr, weight_decay))
    if not groups:
        raise UserError(
            "nothing to train: this tuning freezes CLIP, and neither reducer nor head has parameters; use tuning=lora"
        )
    optimizer = AdamW(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps)
    return optimizer, LambdaLR(optimizer, lambda step: warmup_cosine(step, steps, warmup))


def parameter_groups(
    model: nn.Module, loss: nn.Module, lr: float, new_lr: float, weight_decay: float
) -> Iterator[dict[str, Any]]:
    """The trained parameters, by whether they are new and whether they decay; groups without any are left out."""
    owners = [*new_modules(model).values(), loss]
    clips: set[nn.Parameter] = set(model.get_submodule("visual.reducer").at_clips_rate())  # type: ignore[operator]
    new = {id(parameter) for owner in owners for parameter in owner.parameters() if parameter not in clips}
    trained = [parameter for part in (model, loss) for parameter in part.parameters() if parameter.requires_grad]
    for (rate, kind), (decay, shape) in product(
        ((lr, "CLIP's"), (new_lr, "new")), ((weight_decay, "matrices"), (0.0, "vectors"))
    ):
        group = [
            parameter
            for parameter in trained
            if (id(parameter) in new) == (kind == "new") and (parameter.squeeze().ndim >= 2) == (shape == "matrices")
        ]
        if group:
            yield {"params": group, "lr": rate, "weight_decay": decay, "name": f"{kind} {shape}"}


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """The share of the peak rate at a step: up linearly over `warmup * steps`, then down by a cosine to 0."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + cos(pi * min(1.0, (step - rising) / max(1.0, steps - rising))))
