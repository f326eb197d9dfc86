"""120 flipped bits and 24 cuts in a checkpoint of 48 MB, an adapter and a published file: told, or without effect.

Silent is a file that is read and gives other weights than were written.
"""

import os
import random
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from retrieval.errors import UserError
from retrieval.model.integrity import check_archive, save_hashed
from retrieval.model.weights import read_checkpoint

FLIPS = {"last.ckpt": 120, "published.pt": 60, "adapter_model.safetensors": 60}
CUTS = 8


def tensors(megabytes: float, parts: int = 60) -> dict[str, Tensor]:
    """Weights of about this size."""
    rows = round(megabytes * 1e6 / 4 / parts / 512)
    generator = torch.Generator().manual_seed(0)
    return {f"model.blocks.{part}.weight": torch.randn(rows, 512, generator=generator) for part in range(parts)}


def write(name: str, path: Path) -> dict[str, Tensor]:
    """Write a file as we or others do; returns its tensors."""
    weights = tensors(48 if name == "last.ckpt" else 4)
    if name.endswith(".safetensors"):
        save_hashed(weights, path)
    elif name == "last.ckpt":
        torch.save({"state_dict": weights, "epoch": 3, "optimizer_states": [{"lr": 0.1}]}, path)
    else:
        torch.save(weights, path)
    return weights


def outcome(path: Path, weights: dict[str, Tensor]) -> str:
    """`refused`, `same`, `silent`, or the name of a raw error."""
    try:
        content = read_checkpoint(path)
    except UserError as error:
        return "refused" if str(path) in str(error) and "\n" not in str(error) else "no clear line"
    except Exception as error:
        return type(error).__name__
    found = content.get("state_dict", content)
    same = found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in weights)
    return "same" if same and ("epoch" not in content or content["epoch"] == 3) else "silent"


def flipped(path: Path, weights: dict[str, Tensor], count: int, random_: random.Random) -> list[str]:
    """What comes of one flipped bit each; half of them anywhere, half where names and sizes are: near both ends."""
    found, size = [], path.stat().st_size
    with path.open("r+b") as file:
        for number in range(count):
            place = random_.randrange(size)
            if number % 2:
                place = random_.choice((random_.randrange(min(4096, size)), size - 1 - random_.randrange(8192)))
            bit = 1 << random_.randrange(8)
            for _ in range(2):  # and back
                byte = os.pread(file.fileno(), 1, place)[0]
                os.pwrite(file.fileno(), bytes([byte ^ bit]), place)
                if len(found) == number:
                    found.append(outcome(path, weights))
    return found


def cut(path: Path, weights: dict[str, Tensor], random_: random.Random) -> list[str]:
    """What comes of a file that ends early."""
    whole = path.read_bytes()
    found = []
    for length in [0, 1, len(whole) - 1, *(random_.randrange(len(whole)) for _ in range(CUTS - 3))]:
        path.write_bytes(whole[:length])
        found.append(outcome(path, weights))
    path.write_bytes(whole)
    return found


def main() -> None:
    """Flip, cut, read, and say how it came out."""
    random_ = random.Random(0)
    held = tried = 0
    with tempfile.TemporaryDirectory() as place:
        for name, count in FLIPS.items():
            path = Path(place, name)
            weights = write(name, path)
            if zipfile.is_zipfile(path):
                start = time.perf_counter()
                check_archive(path)
                seconds = time.perf_counter() - start
                start = time.perf_counter()
                torch.load(path, weights_only=True)
                print(f"{name}: checksums of {path.stat().st_size / 1e6:.0f} MB in {seconds:.3f} s, ", end="")
                print(f"reading without them {time.perf_counter() - start:.3f} s")
            for what, found in (
                ("flipped", flipped(path, weights, count, random_)),
                ("cut", cut(path, weights, random_)),
            ):
                counts = {each: found.count(each) for each in dict.fromkeys(found)}
                print(f"{name}: {len(found)} {what}: {', '.join(f'{n} {each}' for each, n in counts.items())}")
                held, tried = held + sum(each in ("refused", "same") for each in found), tried + len(found)
    print(f"weights: held {held} of {tried}")
    sys.exit(held < tried)


if __name__ == "__main__":
    main()
