"""One step of meta-optimisation: adapt to a seen domain, and be good on an unseen one afterwards.

The objective is (L_seen(theta) + L_unseen(theta - a dL_seen/dtheta)) / 2, as in MLDG (Li et al., AAAI 2018) and DAF-DG
(Peng et al., CVPR 2024). Its gradient reaches the lifter's own parameters theta: with `second_order` also through the
inner step, as a product with the Hessian of L_seen; first order leaves that out, which is exact as a goes to zero.

Batch norm's running statistics take every row in once a step. shared_norm: both domains go through the network
together, so that batch norm normalises by the statistics of the two, which are then also those that it is evaluated
with (compare `dg.methods.mixing`); the pass at theta moves the running statistics, the pass at the adapted parameters
moves a copy that is thrown away. Otherwise each domain is normalised by itself and moves them in its own pass.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


@dataclass(frozen=True)
class Domain:
    """What a lifter sees of one domain's poses, and the root-relative joints (metres) that it should answer."""

    features: Tensor
    target: Tensor


@dataclass(frozen=True)
class MetaGradient:
    """Gradients of the objective by parameter, in the lifter's order, and the two losses, all detached."""

    gradients: tuple[Tensor, ...]
    seen: Tensor
    unseen: Tensor


def meta_gradient(
    lifter: nn.Module,
    seen: Domain,
    unseen: Domain,
    inner_lr: float,
    *,
    second_order: bool,
    shared_norm: bool,
    loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
) -> MetaGradient:
    """The objective's gradient at the lifter's parameters, which are not changed; see the module's docstring.

    Two forward passes; two backward passes, with second_order the second one also through the first.

    Args:
        lifter: whose parameters the gradient is taken at.
        seen: features and targets of the inner step.
        unseen: features and targets that the adapted lifter is judged by.
        inner_lr: rate of the inner step.
        second_order: differentiate through the inner step.
        shared_norm: pass both domains through batch normalisation together.
        loss: of predictions and targets; a scalar.
    """
    parameters = dict(lifter.named_parameters())
    own = tuple(parameters.values())
    first, second = _passes(seen, unseen) if shared_norm else (seen.features, unseen.features)
    with _twice_differentiable(second_order):
        seen_loss = loss(lifter(first)[: len(seen.target)], seen.target)
        inner = _gradient(seen_loss, own, create_graph=second_order)
        adapted = {
            name: (p - inner_lr * g if second_order else (p.detach() - inner_lr * g).requires_grad_())
            for (name, p), g in zip(parameters.items(), inner, strict=True)
        }
        state = (adapted, {k: b.clone() for k, b in lifter.named_buffers()}) if shared_norm else adapted
        predicted = functional_call(lifter, state, (second,))
        unseen_loss = loss(predicted[-len(unseen.target) :], unseen.target)
    if second_order:
        objective = 0.5 * (seen_loss + unseen_loss)
        gradients = _gradient(objective, own)
    else:
        outer = _gradient(unseen_loss, tuple(adapted.values()))
        gradients = tuple(0.5 * (a + b) for a, b in zip(inner, outer, strict=True))
    return MetaGradient(gradients, seen_loss.detach(), unseen_loss.detach())


def _gradient(loss: Tensor, parameters: tuple[Tensor, ...], create_graph: bool = False) -> tuple[Tensor, ...]:
    """Zeros for parameters that the loss does not depend on."""
    return torch.autograd.grad(loss, parameters, create_graph=create_graph, allow_unused=True, materialize_grads=True)


def _passes(seen: Domain, unseen: Domain) -> tuple[Tensor, Tensor]:
    both = torch.cat([seen.features, unseen.features])
    return both, both


@contextmanager
def _twice_differentiable(needed: bool) -> Iterator[None]:
    """Attention by plain products where a gradient of a gradient is asked for; fused kernels have none."""
    if not needed:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield
