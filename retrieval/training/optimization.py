"""AdamW with separate rates for CLIP and for new parameters, linear warm-up and cosine decay."""

from collections.abc import Iterator
from math import cos, pi
from typing import Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from retrieval.errors import UserError
from retrieval.model.tuning import is_new


def adamw(
    model: nn.Module,
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
        steps: optimizer steps in the whole training.
        lr: peak rate of CLIP's own parameters.
        new_lr: peak rate of new ones: adapters and the reducer's.
        weight_decay: of matrices; norms, biases, embeddings of a single vector and the logit scale have none.
        warmup: share of the steps over which the rates rise from 0.
        betas: Adam's decay rates.
        eps: Adam's constant against division by zero.

    Raises:
        UserError: nothing to train, or a warm-up that is no share.
    """
    if not 0 <= warmup < 1:
        raise UserError(f"optimizer.warmup={warmup}: the share of the steps that warm up, from 0 to below 1")
    groups = list(parameter_groups(model, lr, new_lr, weight_decay))
    if not groups:
        raise UserError("nothing to train: this tuning freezes CLIP and the reducer has no parameters; use tuning=lora")
    optimizer = AdamW(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps)
    return optimizer, LambdaLR(optimizer, lambda step: warmup_cosine(step, steps, warmup))


def parameter_groups(model: nn.Module, lr: float, new_lr: float, weight_decay: float) -> Iterator[dict[str, Any]]:
    """The trained parameters, by rate and by whether they decay; groups without any are left out."""
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for rate, new in ((lr, False), (new_lr, True)):
        for decay, matrix in ((weight_decay, True), (0.0, False)):
            group = [p for name, p in trained if is_new(name) == new and (p.squeeze().ndim >= 2) == matrix]
            if group:
                yield {"params": group, "lr": rate, "weight_decay": decay}


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """The share of the peak rate at a step: up linearly over `warmup * steps`, then down by a cosine to 0."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + cos(pi * min(1.0, (step - rising) / max(1.0, steps - rising))))
