"""Pooling: a video of identical frames pools to itself."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.reducers import Pooling, Tokens


@settings(deadline=None)
@given(segments=st.sampled_from([1, 2, 3, 4, 6, 12]), dtype=st.sampled_from([torch.float32, torch.float16]))
def test_a_video_of_identical_frames_pools_to_itself(segments, dtype):
    frame = torch.randn(3, 1, 5, 8, dtype=dtype)
    tokens = Tokens(frame.expand(3, 12, 5, 8).flatten(0, 1), torch.ones(36, 5, 1), clips=12)
    pooled = Pooling(num_segments=segments).before_attention(tokens, 6).x.unflatten(0, (3, segments))
    torch.testing.assert_close(pooled, frame.expand(3, segments, 5, 8))
