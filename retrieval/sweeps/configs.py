"""What a job has left in its folder is a file, and a file never chooses what runs: plain values are read, no more."""

from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from retrieval.errors import UserError
from retrieval.model.saved import check_plain, shortened


def read_config(path: Path) -> DictConfig:
    """The config that a job has written, resolved as it was then.

    Raises:
        UserError: no such file, a damaged one, or one that holds interpolations or anything but plain values.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a job's config ({shortened(' '.join(str(error).split()))})") from error
    if not isinstance(content, dict) or not isinstance(content.get("run_dir"), str):
        raise UserError(f"{path}: not a job's config, but {'empty' if not content else 'something else'}")
    check_plain(content, str(path))
    return OmegaConf.create(content)
