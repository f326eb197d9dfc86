"""The numbers of the authors' code on the device: in fp32 as close as on the CPU, in bf16 in the same direction."""

import json

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional as F

from retrieval import load_model
from retrieval.model.attention import attention
from retrieval.reducers.clustering import distances, k_medoids, pairwise_distances
from tests.conftest import NUMBERS, TINY_CLIP, read_reference
from tests.model.test_attention import written_out
from tests.published import published_tempme, tempme_of
from tests.published_centerclip import centerclip_of
from tests.reducers import test_centerclip, test_tempme
from tests.reducers.clustering.test_kmedoids import PUBLISHED

COSINE = {torch.float32: 1 - 1e-5, torch.bfloat16: 0.95}
"""Of a video's feature with the published one; in bf16 some tokens go elsewhere."""


def assert_features(model, reference, device, dtype, atol):
    model = model.to(device, dtype)
    one = slice(1 if dtype == torch.bfloat16 and device.type == "cpu" else None)  # which most processors emulate
    frames = reference.frames[one]
    with torch.no_grad():
        video = model.encode_video(frames.to(device, dtype)).float().cpu()
    published = reference.tensors["output.video_features"][: len(frames)]
    if dtype == torch.float32:
        torch.testing.assert_close(F.normalize(video, dim=-1), F.normalize(published, dim=-1), atol=atol, rtol=0)
    assert (F.cosine_similarity(video, published) >= COSINE[dtype]).all()


@pytest.mark.parametrize("name", test_tempme.REFERENCES)
def test_tempme(name, device, dtype, tmp_path):
    reference = read_reference(name)
    path = published_tempme(reference, tmp_path)
    model = load_model(path, tempme_of(reference.config), reference.config["lora"])
    assert_features(model, reference, device, dtype, atol=1e-4)


@pytest.mark.parametrize("name", test_centerclip.REFERENCES)
def test_centerclip(name, device, dtype):
    reference = read_reference(name)
    assert_features(load_model(TINY_CLIP, centerclip_of(reference.config)), reference, device, dtype, atol=2e-3)


@pytest.mark.parametrize("digits", [False, True])
@pytest.mark.parametrize("name", PUBLISHED)
def test_kmedoids(name, digits, device, monkeypatch):
    """By float64 and by digits, whichever the device takes of itself."""
    monkeypatch.setattr(distances, "has_little_float64", lambda device: digits)
    with safe_open(NUMBERS / "kmedoids_points.safetensors", "pt") as file:
        knobs = json.loads(file.metadata()[name])
        points, medoids, assignment = (file.get_tensor(f"{name}.{key}") for key in ("points", "medoids", "assignment"))
    distance = "cosine" if knobs["distance"] == "cosine" else "minkowski"
    found = k_medoids(points.to(device), knobs["clusters"], distance, knobs["p"], knobs["iteration_limit"])
    assert found.medoids.cpu().equal(medoids)
    assert found.assignment.cpu().equal(assignment)


@pytest.fixture(params=["highest", "high", "medium"])
def product_precision(request):
    """Of products of float32: in full, in TF32, in bfloat16."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("product_precision")
def test_digits_and_float64_agree(device):
    points = (torch.randn(4, 147, 768) + 3).to(device)
    by_digits, exact = (pairwise_distances(points, digits=digits) for digits in (True, False))
    torch.testing.assert_close(by_digits, exact, atol=0, rtol=3e-7)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_proportional_attention(device, half):
    q, k, v = (torch.randn(4, 12, 50, 64, device=device, dtype=half) for _ in range(3))
    bias = torch.randint(1, 300, (4, 50, 1), device=device).log()
    bias[:, -5:] = -torch.inf
    attended = attention(q, k, v, bias, False)
    torch.testing.assert_close(attended.double(), written_out(q, k, v, bias), atol=1e-2, rtol=0)
