"""Whether a weights file is what was written: checksums of torch's archives, and a hash in safetensors of ours.

A flipped bit in a weight is a weight as good as any other, so that nothing but a checksum tells it.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from retrieval.files import replacing

ZIP = b"PK\x03\x04"
"""How an archive begins."""
HASH = "retrieval.sha256"
"""The name, among a safetensors file's metadata, of the hash of its tensors."""


def is_archive(path: Path) -> bool:
    """Whether the file is a zip archive, as all are that torch has written since 1.6."""
    with path.open("rb") as file:
        return file.read(len(ZIP)) == ZIP


def check_archive(path: Path) -> list[str]:
    """The names of an archive's members, each of which has been read and has the CRC-32 that it was written with.

    Raises:
        Exception: zipfile's own, where a member is damaged or missing, or another could be read in its place, and where
            none has a checksum.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.orig_filename for member in members]
        if len(set(names)) < len(names) or any(member.filename != member.orig_filename for member in members):
            raise zipfile.BadZipFile("two of its parts have one name")
        if not any(member.CRC for member in members):
            raise zipfile.BadZipFile(
                "it was written without checksums: save it again after torch.serialization.set_crc32_options(True)"
            )
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"the checksum of its part {damaged!r} differs")
        return names


def runs_code(path: Path, names: list[str]) -> bool:
    """Whether a TorchScript archive runs code of its own as it is read."""
    with zipfile.ZipFile(path) as archive:
        return any(b"__setstate__" in archive.read(name) for name in names if name.endswith(".py"))


def save_hashed(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write safetensors with a hash of all names, shapes, types and values among the metadata."""
    whole = {name: value.contiguous() for name, value in tensors.items()}
    with replacing(path) as partial:
        save_file(whole, partial, metadata={"format": "pt", HASH: digest(whole)})


def check_hash(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check what was read of safetensors, where they are ours; those of others have no hash to be checked.

    Raises:
        ValueError: the tensors are not those that were written.
    """
    with safe_open(path, "pt") as file:
        written = (file.metadata() or {}).get(HASH)
    if written is not None and written != digest(tensors):
        raise ValueError("its tensors do not have the hash that was stored with them")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors with their names, shapes and types."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
