"""Both ways to a bias on the keys against attention written out in float64."""

import pytest
import torch

from retrieval.model.attention import attention, attention_by_channels, attention_by_mask


def written_out(q, k, v, bias, causal=False):
    logits = q.double() @ k.double().mT / q.shape[-1] ** 0.5 + bias.double().mT[:, None]
    if causal:
        logits = logits + torch.full(logits.shape[-2:], -torch.inf).triu(1)
    return logits.softmax(-1) @ v.double()


def heads(channels, dtype, tokens=13):
    return [torch.randn(2, 3, tokens, channels).to(dtype) for _ in range(3)]


TOLERANCE = {torch.float32: 3e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}


@pytest.mark.parametrize("way", [attention_by_mask, attention_by_channels])
@pytest.mark.parametrize("channels", [8, 64, 20])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_both_ways_are_attention_with_the_bias(way, channels, dtype):
    q, k, v = heads(channels, dtype)
    bias = torch.randint(1, 700, (2, 13, 1)).log()
    bias[:, -3:] = -torch.inf
    attended = way(q, k, v, bias)
    assert attended.dtype == dtype
    torch.testing.assert_close(attended.double(), written_out(q, k, v, bias), atol=TOLERANCE[dtype], rtol=0)
    v[:, :, -3:] = 1000.0
    assert way(q, k, v, bias).equal(attended), "padding is seen"


@pytest.mark.parametrize("way", [attention_by_mask, attention_by_channels])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_bias_keeps_the_digits_of_float32_in_half_precision(way, dtype):
    """Where a bias in half precision is off by a hundredth: two keys that differ by as much."""
    bias = torch.tensor([600.0, 603.0, 598.0]).log()[None, :, None]
    q, k, v = (torch.zeros(1, 1, 3, 8, dtype=dtype) for _ in range(3))
    v[0, 0, :, :3] = torch.eye(3)
    shares = torch.tensor([600, 603, 598]) / 1801
    attended = way(q.float(), k.float(), v.float(), bias)[0, 0, 0, :3]
    torch.testing.assert_close(attended, shares, atol=1e-6, rtol=0)
    halves = way(q, k, v, bias)[0, 0, 0, :3].float()
    torch.testing.assert_close(halves, shares.to(dtype).float(), atol=torch.finfo(dtype).eps / 4, rtol=0)
    assert (bias.to(dtype).float().softmax(1)[0, :, 0] - shares).abs().max() > 1e-4


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("way", [attention_by_mask, attention_by_channels])
def test_gradients_go_back_to_all_and_to_the_bias(way, causal):
    """A schedule that is learned is told by the bias alone what it keeps."""
    inputs = [*heads(16, torch.float32), torch.randint(1, 9, (2, 13, 1)).log()]
    gradients = []
    for attend in (way, written_out):
        leaves = [each.clone().requires_grad_() for each in inputs]
        attend(*leaves, causal=causal).square().sum().backward()
        gradients.append([each.grad for each in leaves])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_without_a_bias_and_causally_it_is_pytorchs(causal):
    q, k, v = heads(16, torch.float32)
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    assert attention(q, k, v, None, causal).equal(theirs)
    even = attention_by_channels(q, k, v, torch.zeros(2, 13, 1), causal)
    torch.testing.assert_close(even, theirs, atol=1e-6, rtol=0)


def test_autocast_leaves_the_mask_in_float32():
    q, k, v = heads(16, torch.bfloat16)
    bias = torch.randint(500, 700, (2, 13, 1)).log()
    with torch.autocast("cpu", torch.bfloat16):
        assert attention(q, k, v, bias, False).equal(attention_by_mask(q, k, v, bias))
