"""What a run that goes on needs beyond what Lightning restores: its place in the epoch, its best checkpoints."""

import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from retrieval.errors import UserError
from retrieval.plain import shortened
from retrieval.training.checkpoints import put_in_place

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
"""What a `ModelCheckpoint` remembers beside its `best_k_models`."""


class Resumption(L.Callback):
    """Puts the training loader where it was, and finds the best checkpoints of a run that was moved or copied.

    The loader: Lightning restores it as it is built, but that is before there is anything to restore wherever an
    optimizer asks for the number of steps; the first samples of the epoch were then seen twice, others never.

    The checkpoints: Lightning remembers absolute paths, and forgets which checkpoint is the best where they differ: the
    next one, however bad, then takes its place. A best one that lies beside the file that is resumed from is copied
    into this run, so that no other run is read from later, nor written to.
    """

    def __init__(self) -> None:
        self.places: list[dict[str, Any]] = []  # of the loaders, between loading and the start of training

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Rewrite the states of all `ModelCheckpoint`s.

        Raises:
            UserError: a best checkpoint is remembered, but not there.
            UserError: one is remembered where no run has put it.
        """
        source = Path(str(trainer.ckpt_path)).absolute()
        resumes = trainer.state.fn == TrainerFn.FITTING
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint.get("callbacks", {}).get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state:
                _check_paths(state, source)
                moved = _moved(state, Path(str(callback.dirpath)))
                if callback.monitor and resumes:
                    _bring_along(moved, source, copy=trainer.is_global_zero)
                checkpoint["callbacks"][callback.state_key] = moved
        if resumes:
            self.places = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Nothing has been read from the loader by now."""
        loader: Any = trainer.train_dataloader
        for place in self.places:
            loader.load_state_dict(place)


def _check_paths(state: dict[str, Any], source: Path) -> None:
    """Raise UserError for paths that lead out of their folder again: files are copied and deleted by them."""
    best = state.get("best_k_models", {})
    remembered = [state.get("dirpath") or "", *(state.get(name) or "" for name in PATHS), *best]
    odd = [path for path in remembered if not isinstance(path, str) or ".." in Path(path).parts]
    if odd:
        raise UserError(f"{source}: refused, for it remembers a checkpoint at {shortened(odd[0])}")


def _moved(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A `ModelCheckpoint`'s state whose files lie in `folder`."""
    before = Path(state.get("dirpath") or folder)

    def here(path: str) -> str:
        return str(folder / Path(path).relative_to(before)) if Path(path).is_relative_to(before) else path

    paths = {name: here(state.get(name) or "") for name in PATHS}
    best = {here(path): score for path, score in state.get("best_k_models", {}).items()}
    return {**state, **paths, "best_k_models": best, "dirpath": str(folder)}


def _bring_along(state: dict[str, Any], source: Path, copy: bool) -> None:
    """See that the remembered checkpoints are in their folder; those that are beside `source` are copied there."""
    for path in map(Path, filter(None, {*state["best_k_models"], state["best_model_path"]})):
        folder = Path(state["dirpath"])
        original = source.parent / path.relative_to(folder) if path.is_relative_to(folder) else path
        if not original.is_file() and not path.is_file():
            raise UserError(
                f"{source}: its best checkpoint so far ({state['monitor']} {float(state['best_model_score']):.4g}) is "
                f"not at {original}: put it back, or start anew from these weights with backbone.source={source}"
            )
        if copy and original.is_file() and original.resolve() != path.resolve():
            with put_in_place(path) as partial:
                shutil.copyfile(original, partial)
