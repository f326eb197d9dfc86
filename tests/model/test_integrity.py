"""A flipped bit, a cut file and a part of another name are told, and what is whole is read as it was written."""

import json
import random
import re
import shutil
import zipfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from retrieval.errors import UserError
from retrieval.model.integrity import HASH, save_hashed
from retrieval.model.weights import read_checkpoint

TENSORS = {"a": torch.arange(4000.0), "b": torch.ones(3, 2, dtype=torch.bfloat16), "c": torch.tensor(7)}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in other
    )


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".safetensors"])
def test_no_flipped_bit_gives_other_weights(tmp_path, suffix):
    path, random_ = tmp_path / f"weights{suffix}", random.Random(0)
    save_hashed(TENSORS, path) if suffix == ".safetensors" else torch.save(TENSORS, path)
    whole = path.read_bytes()
    assert same(read_checkpoint(path), TENSORS)
    outcomes = []
    for _ in range(60):
        flipped = bytearray(whole)
        flipped[random_.randrange(len(whole))] ^= 1 << random_.randrange(8)
        path.write_bytes(flipped)
        outcomes.append(read(path))
    assert all(found is None or same(found, TENSORS) for found in outcomes)
    assert outcomes.count(None) > 45


def read(path):
    """What is read of a file; None where it is refused."""
    try:
        return read_checkpoint(path)
    except UserError:
        return None


def test_safetensors_of_others_have_nothing_to_be_checked(tmp_path):
    save_file(TENSORS, tmp_path / "theirs.safetensors")
    assert same(read_checkpoint(tmp_path / "theirs.safetensors"), TENSORS)


def test_the_hash_is_of_names_and_shapes_too(tmp_path):
    path = tmp_path / "ours.safetensors"
    save_hashed(TENSORS, path)
    with safe_open(path, "pt") as file:
        written = file.metadata()
    assert written.keys() == {"format", HASH}
    for changed in ({"x": TENSORS["a"]}, {"a": TENSORS["a"].view(2, -1)}, {"a": TENSORS["a"].view(torch.int32)}):
        save_file({name: value for name, value in TENSORS.items() if name != "a"} | changed, path, metadata=written)
        with pytest.raises(UserError, match=r"ours\.safetensors: damaged .*its tensors do not have the hash"):
            read_checkpoint(path)


def test_a_torn_checkpoint_names_the_whole_ones_beside_it(tmp_path):
    for name in ("best.ckpt", "last.ckpt", "torn.ckpt"):
        torch.save(TENSORS, tmp_path / name)
    for name in ("torn.ckpt", "last.ckpt"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-300])
    with pytest.raises(
        UserError, match=r"last\.ckpt: damaged or not a weights file \(.*\); beside it and whole: best\.ckpt$"
    ):
        read_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "best.ckpt").write_bytes(b"")
    shutil.copy(tmp_path / "torn.ckpt", tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last\.ckpt: damaged or not a weights file \([^)]*\)$"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_two_parts_of_one_name_are_refused(tmp_path):
    """One reader takes the first, another the last: what is checked would not be what is read."""
    path = tmp_path / "twice.pt"
    torch.save(TENSORS, path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("twice/data.pkl", b"other")
    with pytest.raises(UserError, match=r"two of its parts have one name"):
        read_checkpoint(path)


def test_adapters_of_ours_carry_a_hash(tmp_path):
    from retrieval import load_model
    from retrieval.model.tuning import save_adapter

    save_adapter(load_model("ViT-tiny-8", lora_rank=2), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    assert re.fullmatch("[0-9a-f]{64}", header["__metadata__"][HASH])
    assert same(read_checkpoint(path), load_file(path))
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 64
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="adapter_model"):
        read_checkpoint(path)


def test_a_file_without_checksums_says_how_it_gets_some(tmp_path):
    path = tmp_path / "weights.pt"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(TENSORS, path)
    finally:
        torch.serialization.set_crc32_options(before)
    with pytest.raises(UserError, match=r"weights\.pt: .*written without checksums: save it again after torch\."):
        read_checkpoint(path)
