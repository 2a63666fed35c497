"""Semantic graph convolutions: Zhao et al., "Semantic graph convolutional networks for 3D human pose regression", CVPR
2019, without non-local layers as in PoseAug (METHODS 6.3).

One frame: of a longer window the middle one is lifted. 267,343 parameters at 16 joints and (x, y), 267,599 with depth;
outputs agree with the released code to 1e-5 (`root=predicted`: it leaves the root where the network puts it, which
evaluation takes off; the default takes it off at once, in training too). PoseAug trains it at a learning rate of 2e-2
alone and of 1e-3 in adversarial training (METHODS 6.7).

Joints lead the batch, so mixing neighbours is one matrix product for the whole batch, and it comes before the weights:
the released code multiplies 16 x 16 matrices pose by pose.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.pose.skeleton import Skeleton
from lifters.base import Count, CountOrZero, Lifter, Share
from lifters.dropout import ReLUDropout
from lifters.graph import GraphOutput, GraphRoot
from lifters.recipe import Recipe
from lifters.row_norm import RowBatchNorm


@dataclass(frozen=True)
class SemGCNOptions:
    """blocks: residual blocks of two graph convolutions. root: `centred` (zero) or `predicted` (released code)."""

    width: Count = 128
    blocks: CountOrZero = 4
    dropout: Share = 0.0
    root: GraphRoot = "centred"


class SemanticConvolution(nn.Module):
    """Every joint's own features by one matrix, its neighbours' by another, weighted by a softmax over learned logits.

    The logits belong to the non-zero entries of adjacency plus identity, row by row.
    """

    edge: Tensor

    def __init__(self, skeleton: Skeleton, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, inputs, outputs))
        # Over all three dimensions, as the released code: smaller than Xavier's range for the matrices.
        nn.init.xavier_uniform_(self.weight, gain=1.414)
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-(outputs**-0.5), outputs**-0.5))
        edge = (skeleton.adjacency() + torch.eye(len(skeleton))).nonzero().T
        self.logits = nn.Parameter(torch.ones(edge.shape[1]))
        self.register_buffer("edge", edge, persistent=False)
        self.joints = len(skeleton)

    def weights(self) -> Float[Tensor, "joints joints"]:
        """Return how much of each joint (column) goes into each joint (row); rows sum to one."""
        logits = self.logits.new_full((self.joints, self.joints), -torch.inf)
        return logits.index_put((self.edge[0], self.edge[1]), self.logits).softmax(1)

    def forward(self, x: Float[Tensor, "joints batch inputs"]) -> Float[Tensor, "joints batch outputs"]:
        """Mix each joint's own features with its neighbours' and map them to the outputs."""
        weights = self.weights()
        own = weights.diagonal()
        neighbours = (weights - own.diag()) @ x.flatten(1)
        y = torch.addmm(self.bias, neighbours.view(-1, x.shape[2]), self.weight[1])
        own_weight = own[:, None, None] * self.weight[0]
        return torch.baddbmm(y.unflatten(0, x.shape[:2]), x, own_weight)


class _Layer(nn.Module):
    def __init__(self, skeleton: Skeleton, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.convolution = SemanticConvolution(skeleton, inputs, outputs)
        self.norm = RowBatchNorm(outputs)
        self.activation = ReLUDropout(dropout)

    def forward(self, x: Float[Tensor, "joints batch inputs"]) -> Float[Tensor, "joints batch outputs"]:
        y = self.norm(self.convolution(x).flatten(0, 1))
        return self.activation(y).unflatten(0, x.shape[:2])


def _convolution_names(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return ((f"{theirs}W", f"{ours}weight"), (f"{theirs}e", f"{ours}logits"), (f"{theirs}bias", f"{ours}bias"))


def _layer_names(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (*_convolution_names(rf"{theirs}gconv\.", f"{ours}convolution."), (rf"{theirs}bn\.", f"{ours}norm."))


class SemGCN(Lifter):
    """Lifts one frame; see the module's docstring."""

    Options: ClassVar[type] = SemGCNOptions
    PUBLISHED_NAMES: ClassVar[tuple[tuple[str, str], ...]] = (
        *_layer_names(r"^gconv_input\.0\.", "first."),
        *_layer_names(r"^gconv_layers\.(\d+)\.gconv1\.", r"blocks.\g<1>.0."),
        *_layer_names(r"^gconv_layers\.(\d+)\.gconv2\.", r"blocks.\g<1>.1."),
        *_convolution_names(r"^gconv_output\.", "last."),
    )

    @classmethod
    def recipe(cls, options: SemGCNOptions) -> Recipe:
        """Return PoseAug's rate for this lifter, twenty times that of the others (METHODS 6.7)."""
        return Recipe(lr=2e-2)

    def __init__(self, skeleton: Skeleton, channels: int, options: SemGCNOptions) -> None:
        super().__init__(skeleton, channels)
        width, dropout = options.width, options.dropout
        self.first = _Layer(skeleton, channels, width, dropout)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(_Layer(skeleton, width, width, dropout) for _ in range(2))) for _ in range(options.blocks)
        )
        self.last = SemanticConvolution(skeleton, width, 3)
        self.output = GraphOutput(skeleton, options.root)

    def output_layer(self) -> nn.Module:
        """Return the last layer."""
        return self.last

    def forward(self, features: Float[Tensor, "batch frames joints channels"]) -> Float[Tensor, "batch 1 joints 3"]:
        """Lift the middle frame of windows of any length."""
        x = self.first(features[:, features.shape[1] // 2].transpose(0, 1).contiguous())
        for block in self.blocks:
            x = x + block(x)
        return self.output(self.last(x))
