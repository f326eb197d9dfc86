"""CenterCLIP's reducers in the tower against the published system's own numbers."""

import pytest
import torch
from torch.nn import functional as F

from retrieval import load_model
from retrieval.reducers import plan
from tests.conftest import TINY_CLIP, Reference, read_reference
from tests.published_centerclip import centerclip_of

REFERENCES = [
    "kmedoids_4_segments",
    "kmedoids_3_segments_cosine_mean",
    "kmedoids_two_stages",
    "pooling_6_segments",
    "sparse_sampling_4_segments",
    "temporal_shift",
    "token_shift",
]


@pytest.fixture(params=REFERENCES)
def reference(request) -> Reference:
    return read_reference(request.param)


@pytest.fixture
def model(reference):
    return load_model(TINY_CLIP, centerclip_of(reference.config))


@torch.no_grad()
def test_features_are_those_of_the_published_system(model, reference):
    segments = model.visual(reference.frames)
    torch.testing.assert_close(segments, reference.tensors["output.segment_features"], atol=2e-3, rtol=0)
    video = F.normalize(model.encode_video(reference.frames), dim=-1)
    torch.testing.assert_close(video, reference.tensors["output.video_features"], atol=2e-3, rtol=0)


@torch.no_grad()
def test_tokens_per_block_are_the_published_ones_predicted_and_run(model, reference):
    walked = [[tokens.clips, tokens.x.shape[1]] for tokens in model.visual.walk(reference.frames)]
    planned = plan(model.visual.reducer, model.visual.shape, reference.config["max_frames"])
    assert walked == [[after.clips, after.tokens] for _, after in planned] == reference.tokens_per_block


@torch.no_grad()
def test_the_first_clustering_is_the_published_one(model, reference):
    if "clustering.0.assignment" not in reference.tensors:
        assert not reference.config["cluster_algo"].startswith("k")
        return
    acts = min(model.visual.reducer.num_segments)
    tokens = model.visual.walk(reference.frames)[acts]
    published = reference.tensors["clustering.0.assignment"].flatten()
    start = torch.arange(tokens.clips).repeat_interleave(len(published) // tokens.clips) * tokens.layout.tokens
    assert torch.equal(tokens.source[0], start + 1 + published)
