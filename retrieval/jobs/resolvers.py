"""What `${…:}` means in our configs, beside what Hydra and OmegaConf know."""

import os
from netrc import NetrcParseError, netrc
from urllib.parse import urlsplit

from omegaconf import OmegaConf


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


def register_resolvers() -> None:
    """Make `${wandb_mode:}` known to configs."""
    OmegaConf.register_new_resolver("wandb_mode", wandb_mode, replace=True)
