"""The two graph lifters written out plainly in the released code's structure: the slow twins of `lifters.sem_gcn` and
`lifters.st_gcn`, for the benchmark and for tests.

Features come before joints as in images; SemGCN's joints are mixed pose by pose after both products with the weights;
ST-GCN multiplies every joint with all four matrices before an einsum mixes them, repeats the features of body and parts
at every joint, and multiplies the repetitions. The twins hold no parameters: they read those of our modules.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lifters.graph import body_matrices, body_parts, part_matrices, with_neck
from lifters.sem_gcn import SemanticConvolution, SemGCN
from lifters.st_gcn import STGCN


def norm_of(x: Tensor, norm: nn.modules.batchnorm._BatchNorm) -> Tensor:
    """Batch norm over dimension 1; running statistics stay as they are."""
    if norm.training:
        return F.batch_norm(x, None, None, norm.weight, norm.bias, True, eps=norm.eps)
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of width one over `[batch, features, 1, joints]`."""
    return F.conv2d(x, weight[:, :, None, None], bias)


class PlainSemGCN:
    def __init__(self, lifter: SemGCN) -> None:
        self.lifter = lifter
        self.mask = lifter.skeleton.adjacency() + torch.eye(len(lifter.skeleton)) > 0

    def convolve(self, x: Tensor, ours: SemanticConvolution) -> Tensor:
        own, neighbours = x @ ours.weight[0], x @ ours.weight[1]
        logits = torch.full(self.mask.shape, -9e15)
        logits[self.mask] = ours.logits
        weights, identity = logits.softmax(1), torch.eye(len(logits))
        return (weights * identity) @ own + (weights * (1 - identity)) @ neighbours + ours.bias

    def layer(self, x: Tensor, ours: nn.Module) -> Tensor:
        y = norm_of(self.convolve(x, ours.convolution).transpose(1, 2), ours.norm).transpose(1, 2)
        return F.relu(F.dropout(F.relu(y), ours.activation.p, ours.training))

    def __call__(self, features: Tensor) -> Tensor:
        """`[batch, joints, channels]` to `[batch, joints, 3]`, the root where the network puts it."""
        x = self.layer(features, self.lifter.first)
        for first, second in self.lifter.blocks:
            x = x + self.layer(self.layer(x, first), second)
        return self.convolve(x, self.lifter.last)


class PlainSTGCN:
    def __init__(self, lifter: STGCN) -> None:
        self.lifter = lifter
        body = with_neck(lifter.skeleton)
        self.parts = [[joint for joint, at in enumerate(body_parts(body)) if at == part] for part in range(5)]
        self.kept = [body.index(name) for name in lifter.skeleton.joints]
        self.added = None
        if len(body) > len(lifter.skeleton):
            self.added = torch.zeros(len(body), len(lifter.skeleton))
            self.added[self.kept, range(len(self.kept))] = 1.0
            self.added[body.index("neck"), [lifter.skeleton.index(name) for name in ("thorax", "head")]] = 0.5
        # Of sources to targets, as the einsum has them.
        self.joint_matrices = body_matrices(body).transpose(1, 2)
        self.part_matrices = part_matrices().transpose(1, 2)

    def layer(self, x: Tensor, matrices: Tensor, ours: nn.Module) -> Tensor:
        y = pointwise(x, ours.graph.linear.weight, ours.graph.linear.bias).unflatten(1, (len(matrices), -1))
        y = torch.einsum("nkctv,kvw->nctw", y, matrices).contiguous()
        y = F.dropout(F.relu(norm_of(y, ours.norm)), ours.activation.p, ours.training)
        y = norm_of(pointwise(y, ours.linear.weight, ours.linear.bias), ours.last_norm)
        y = F.dropout(y, ours.dropout.p, ours.training)
        if ours.residual and len(ours.shortcut):
            linear, norm = ours.shortcut
            y = y + norm_of(pointwise(x, linear.weight, linear.bias), norm)
        elif ours.residual:
            y = y + x
        return F.relu(y)

    def part_features(self, parts: Tensor) -> Tensor:
        ours = self.lifter.part_features
        body = pointwise(parts.amax(3, keepdim=True), ours.body.weight, ours.body.bias)
        body = F.dropout(F.relu(norm_of(body, ours.body_norm)), ours.body_activation.p, ours.training)
        both = torch.cat([body.repeat(1, 1, 1, len(self.parts)), parts], 1)
        y = norm_of(pointwise(both, ours.linear.weight, ours.linear.bias), ours.norm)
        return F.dropout(F.relu(y), ours.activation.p, ours.training)

    def non_local(self, x: Tensor) -> Tensor:
        ours = self.lifter.non_local
        query, key, value = (
            pointwise(x, layer.weight, layer.bias).flatten(2) for layer in (ours.query, ours.key, ours.value)
        )
        seen = (query.transpose(1, 2) @ key).softmax(-1) @ value.transpose(1, 2)
        change = pointwise(seen.transpose(1, 2)[:, :, None].contiguous(), ours.linear.weight, ours.linear.bias)
        return x + norm_of(change, ours.norm)

    def __call__(self, features: Tensor) -> Tensor:
        """`[batch, joints, channels]` to `[batch, joints, 3]`, the root where the network puts it."""
        lifter = self.lifter
        x = features if self.added is None else self.added @ features
        x = norm_of(x.flatten(1), lifter.first.norm).view(x.shape).transpose(1, 2)[:, :, None].contiguous()
        x = self.layer(x, self.joint_matrices, lifter.first.layer)
        for ours in lifter.joint_layers:
            x = self.layer(x, self.joint_matrices, ours)
        parts = torch.cat([F.max_pool2d(x[..., part], (1, len(part))) for part in self.parts], 3)
        for ours in lifter.part_layers:
            parts = self.layer(parts, self.part_matrices, ours)
        parts, up = self.part_features(parts), torch.zeros_like(x)
        for number, part in enumerate(self.parts):
            up[..., part] = parts[..., number, None].repeat(1, 1, 1, len(part))
        x = F.dropout(self.non_local(torch.cat([x, up], 1)), lifter.dropout.p, lifter.training)
        return pointwise(x, lifter.last.weight, lifter.last.bias)[:, :, 0].transpose(1, 2)[:, self.kept]
