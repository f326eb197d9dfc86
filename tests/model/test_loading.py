"""All that users have loads, and what does not fit is named."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from retrieval import load_model
from retrieval.reducers import TempMe
from tests.conftest import TINY_CLIP, read_reference
from tests.published import published_tempme, tempme_of


@pytest.fixture
def weights():
    return {name: value.float() for name, value in load_file(TINY_CLIP).items()}


@pytest.mark.parametrize("prefix", ["", "clip.", "module.clip."])
@pytest.mark.parametrize("form", [".pt", ".safetensors", "state_dict"])
def test_openai_names_in_every_wrapping_give_the_same_model(weights, tmp_path, prefix, form):
    renamed = {prefix + name: value for name, value in weights.items()}
    path = tmp_path / ("weights.safetensors" if form == ".safetensors" else "weights.pt")
    if form == ".safetensors":
        save_file(renamed, path)
    else:
        torch.save({"state_dict": renamed} if form == "state_dict" else renamed, path)
    expected, loaded = load_model(TINY_CLIP).state_dict(), load_model(path).state_dict()
    assert all((loaded[name] == value).all() for name, value in expected.items())


def test_openais_own_archives_load(weights, tmp_path):
    class Archive(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in weights.items():
                *folders, leaf = name.split(".")
                module = self
                for folder in folders:
                    if not hasattr(module, folder):
                        module.add_module(folder, torch.nn.Module())
                    module = getattr(module, folder)
                module.register_parameter(leaf, torch.nn.Parameter(value))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    torch.jit.script(Archive()).save(tmp_path / "archive.pt")
    frames = torch.randn(1, 2, 3, 56, 56)
    ours, theirs = load_model(TINY_CLIP), load_model(tmp_path / "archive.pt")
    torch.testing.assert_close(theirs.encode_video(frames), ours.encode_video(frames))


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (print, ("pwned",), None, None, None)

    torch.save({"state_dict": Malicious()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil\.pt: damaged or not a weights file"):
        load_model(tmp_path / "evil.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
def test_truncated_files_are_named(weights, tmp_path, suffix):
    path = tmp_path / f"half{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"half{suffix}: damaged"):
        load_model(path)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere/weights.pt", ValueError, "nowhere/weights.pt: no such weights file"),
        ("ViT-Z-99", ValueError, "unknown backbone 'ViT-Z-99'"),
        ("ViT-B-32-quickgelu/mine", ValueError, "unknown weights 'mine' of ViT-B-32-quickgelu: open_clip has openai"),
    ],
)
def test_unknown_sources_are_named(source, error, message):
    with pytest.raises(error, match=message):
        load_model(source)


def test_weights_that_do_not_fit_are_listed_by_name(weights, tmp_path):
    weights.pop("ln_final.bias")
    weights["extra"] = torch.zeros(1)
    save_file(weights, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match=r"1 missing \(ln_final.bias\); 1 surplus \(extra\)"):
        load_model(tmp_path / "odd.safetensors")


def test_other_files_than_clips_are_refused(tmp_path):
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"no CLIP vision transformer under OpenAI's names, but layer.weight"):
        load_model(tmp_path / "other.safetensors")


def test_weights_without_what_tells_the_architecture_are_refused(weights, tmp_path):
    weights.pop("token_embedding.weight")
    save_file(weights, tmp_path / "no_words.safetensors")
    with pytest.raises(ValueError, match=r"no_words\.safetensors: no CLIP vision transformer under OpenAI's names"):
        load_model(tmp_path / "no_words.safetensors")


def test_a_published_checkpoint_brings_its_adapters_and_wants_its_positions(tmp_path):
    reference = read_reference("tempme_default")
    path = published_tempme(reference, tmp_path)
    model = load_model(path, tempme_of(reference.config))
    trained = reference.tensors["parameter.clip.visual.transformer.resblocks.9.TVPt_Video_Positional_embedding"]
    torch.testing.assert_close(model.visual.reducer.positions["9"].data, trained.float())
    with pytest.raises(ValueError, match=r"3 surplus \(visual.reducer.positions.10"):
        load_model(path, TempMe(positions=False))
    with pytest.raises(ValueError, match="the weights come with rank 8"):
        load_model(path, tempme_of(reference.config), lora_rank=4)


class Evil(torch.nn.Module):
    """Runs code of its own when it is read."""

    @torch.jit.export
    def __getstate__(self):
        return 1

    @torch.jit.export
    def __setstate__(self, state: int):
        print("read")


def test_an_archive_that_runs_code_is_refused(tmp_path):
    torch.jit.script(Evil()).save(str(tmp_path / "evil.pt"))
    with pytest.raises(ValueError, match=r"evil\.pt: refused, for this TorchScript archive runs code of its own"):
        load_model(tmp_path / "evil.pt")


def test_what_is_no_dict_is_refused(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    with pytest.raises(ValueError, match=r"tensor\.pt: not a weights file, but a Tensor"):
        load_model(tmp_path / "tensor.pt")
