"""What `${…:}` means in our configs, beside what Hydra and OmegaConf know."""

import os
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from typing import Any
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf


def wandb_mode() -> str:
    """What WANDB_MODE says; without it online where a key is set, in WANDB_API_KEY or by a login, else offline."""
    return os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") or _login() else "offline")


def _login() -> bool:
    """Whether `wandb login` has left a key for the server in the user's netrc file."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return bool(host and netrc(os.environ.get("NETRC")).authenticators(host))
    except (OSError, NetrcParseError):
        return False


def of_corpus(values: Mapping[str, Any], otherwise: Any, *, _root_: DictConfig) -> Any:
    """What a recipe has for the corpus of `data`, which goes by its class; `otherwise` for those that it leaves out."""
    target = OmegaConf.select(_root_, "data.corpus._target_") or ""
    found = values.get(target.rpartition(".")[2], otherwise)
    return OmegaConf.create(found) if isinstance(found, list) else found  # else OmegaConf.resolve refuses it


def register_resolvers() -> None:
    """Make `${wandb_mode:}` and `${of_corpus:{ActivityNet:60},12}` known to configs."""
    OmegaConf.register_new_resolver("of_corpus", of_corpus, replace=True)
    OmegaConf.register_new_resolver("wandb_mode", wandb_mode, replace=True)
