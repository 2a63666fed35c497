import pytest
import torch

from lifters.dropout import ReLUDropout


def test_it_drops_the_asked_share_and_scales_the_rest():
    module = ReLUDropout(0.25).train()
    x = torch.rand(500, 201) + 0.5
    y = module(x)
    assert abs((y == 0).float().mean() - 0.25) < 0.01
    kept = y > 0
    torch.testing.assert_close(y[kept], x[kept] / 0.75)


def test_its_gradient_is_the_kept_and_active_units():
    x = torch.randn(64, 33, requires_grad=True)
    y = ReLUDropout(0.25).train()(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, (y > 0).float() / 0.75)


def test_units_are_dropped_independently():
    y = ReLUDropout(0.25).train()(torch.ones(20_000, 9))
    dropped = (y == 0).float()
    correlation = torch.corrcoef(dropped.T) - torch.eye(9)
    assert correlation.abs().max() < 0.04


def test_in_eval_mode_it_is_a_relu():
    x = torch.randn(5, 7)
    assert torch.equal(ReLUDropout(0.25).eval()(x), torch.relu(x))
    assert torch.equal(ReLUDropout(0.0).train()(x), torch.relu(x))


def test_the_same_seed_drops_the_same_units():
    x, module = torch.ones(16, 16), ReLUDropout(0.5).train()
    torch.manual_seed(4)
    first = module(x)
    torch.manual_seed(4)
    assert torch.equal(first, module(x))


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_a_share_outside_the_range_is_refused(p):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        ReLUDropout(p)
