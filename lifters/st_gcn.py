"""Graph convolutions at two scales: Cai et al., "Exploiting spatial-temporal relationships for 3D pose estimation via
graph convolutional networks", ICCV 2019, for a single frame as in PoseAug (METHODS 6.4).

One frame: of a longer window the middle one is lifted. 3,627,847 parameters at 16 joints and (x, y), 3,628,393 with
depth; outputs agree with the released code to 1e-5 (`root=predicted`: it leaves the root where the network puts it,
which evaluation takes off; the default takes it off at once, in training too). A skeleton without a neck is given one
between thorax and head, and it is taken out of the output. The released code normalises its input with epsilon 0.1: it
passes its momentum in that place, and so do we. PoseAug pre-trains with the dropouts that are the defaults here, and
sets them all to 0 in adversarial training.

Joints lead the batch, so mixing joints is one matrix product for the whole batch. Products are done at the fewest nodes
they need (`GraphConvolution`), and features that all joints of a part share are multiplied once for the part.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dg.pose.skeleton import Skeleton
from lifters.base import Count, Lifter, Share
from lifters.dropout import Dropout, ReLUDropout
from lifters.graph import GraphOutput, GraphRoot, body_matrices, body_parts, part_matrices, with_neck
from lifters.row_norm import RowBatchNorm

_INPUT_EPSILON = 0.1


@dataclass(frozen=True)
class STGCNOptions:
    """width: of the first layers; others have 2 or 4 times as many features. graph_dropout: in the graph convolutions'
    layers; body_dropout: of the whole body's features; dropout: of the parts' features and before the last layer. root:
    `centred` (zero) or `predicted` (released code).
    """

    width: Count = 128
    graph_dropout: Share = 0.05
    body_dropout: Share = 0.25
    dropout: Share = 0.1
    root: GraphRoot = "centred"


class GraphConvolution(nn.Module):
    """sum over k of matrices[k] @ x @ weight[k], each bias added before its matrix.

    Each matrix is split into one that gathers and one that scatters, over the fewer of the nodes it reads and the nodes
    it writes, and the product with weight[k] is done at these nodes alone. The first matrix must be diagonal.
    """

    gather: Tensor
    scatter: Tensor

    def __init__(self, matrices: Float[Tensor, "parts nodes nodes"], inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, len(matrices) * outputs)
        pairs = [_split(matrix) for matrix in matrices[1:]]
        self.rows = [len(gather) for gather, _ in pairs]
        self.register_buffer("gather", torch.cat([gather for gather, _ in pairs]), persistent=False)
        self.register_buffer("scatter", torch.cat([matrices[0], *(s for _, s in pairs)], 1), persistent=False)

    def forward(self, x: Float[Tensor, "nodes batch inputs"]) -> Float[Tensor, "nodes batch outputs"]:
        """Map the features of the nodes and mix them along the graph."""
        gathered = (self.gather @ x.flatten(1)).unflatten(1, x.shape[1:]).split(self.rows)
        weights, biases = (p.chunk(len(self.rows) + 1) for p in (self.linear.weight, self.linear.bias))
        products = [F.linear(u, w, b) for u, w, b in zip((x, *gathered), weights, biases, strict=True)]
        return (self.scatter @ torch.cat(products).flatten(1)).unflatten(1, (x.shape[1], -1))


def _split(matrix: Float[Tensor, "nodes nodes"]) -> tuple[Float[Tensor, "rank nodes"], Float[Tensor, "nodes rank"]]:
    """(G, S) with S @ G the matrix and rows of G that sum to one, so that a bias added between them stays exact."""
    read, written = matrix.sum(0) > 0, matrix.sum(1) > 0
    identity = torch.eye(len(matrix))
    if read.sum() <= written.sum():
        return identity[read], matrix[:, read]
    total = matrix.sum(1, keepdim=True)
    return (matrix / total)[written], (identity * total)[:, written]


class _Layer(nn.Module):
    def __init__(self, matrices: Tensor, inputs: int, outputs: int, dropout: float, residual: bool = True) -> None:
        super().__init__()
        self.graph = GraphConvolution(matrices, inputs, outputs)
        self.norm = RowBatchNorm(outputs)
        self.activation = ReLUDropout(dropout)
        self.linear = nn.Linear(outputs, outputs)
        self.last_norm = RowBatchNorm(outputs)
        self.dropout = Dropout(dropout)
        self.residual = residual
        self.shortcut = nn.Sequential()
        if residual and inputs != outputs:
            self.shortcut = nn.Sequential(nn.Linear(inputs, outputs), RowBatchNorm(outputs))

    def forward(self, x: Float[Tensor, "nodes batch inputs"]) -> Float[Tensor, "nodes batch outputs"]:
        y = self.activation(self.norm(self.graph(x).flatten(0, 1)))
        y = self.dropout(self.last_norm(self.linear(y)))
        if self.residual:
            y = y + self.shortcut(x.flatten(0, 1))
        return F.relu(y).unflatten(0, x.shape[:2])


class _First(nn.Module):
    """Batch norm of every joint's every channel, and the first layer."""

    def __init__(self, matrices: Tensor, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = RowBatchNorm(matrices.shape[1] * channels, eps=_INPUT_EPSILON)
        self.layer = _Layer(matrices, channels, width, dropout, residual=False)

    def forward(self, x: Float[Tensor, "batch nodes channels"]) -> Float[Tensor, "nodes batch width"]:
        normed = self.norm(x.flatten(1)).view(x.shape)
        return self.layer(normed.transpose(0, 1).contiguous())


class _PartFeatures(nn.Module):
    """Features of the five body parts that know the whole body, from those of the parts alone."""

    def __init__(self, width: int, outputs: int, options: STGCNOptions) -> None:
        super().__init__()
        self.body = nn.Linear(width, width)
        self.body_norm = RowBatchNorm(width)
        self.body_activation = ReLUDropout(options.body_dropout)
        self.linear = nn.Linear(2 * width, outputs)
        self.norm = RowBatchNorm(outputs)
        self.activation = ReLUDropout(options.dropout)

    def forward(self, parts: Float[Tensor, "parts batch width"]) -> Float[Tensor, "parts batch outputs"]:
        body = self.body_activation(self.body_norm(self.body(parts.amax(0))))
        of_body, of_part = self.linear.weight.tensor_split(2, 1)
        y = F.linear(parts, of_part) + F.linear(body, of_body, self.linear.bias)
        return self.activation(self.norm(y.flatten(0, 1))).unflatten(0, parts.shape[:2])


class _NonLocal(nn.Module):
    """Embedded-Gaussian attention between joints, added to features in two halves: a joint's own, and its part's."""

    part_of_joint: Tensor

    def __init__(self, part_of_joint: Tensor, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(2 * width, width)
        self.key = nn.Linear(2 * width, width)
        self.value = nn.Linear(2 * width, width)
        self.linear = nn.Linear(width, 2 * width)
        self.norm = RowBatchNorm(2 * width)
        nn.init.zeros_(self.norm.weight)
        self.register_buffer("part_of_joint", part_of_joint, persistent=False)

    def embed(self, joints: Tensor, parts: Tensor, layer: nn.Linear) -> Float[Tensor, "batch joints width"]:
        of_joint, of_part = layer.weight.tensor_split(2, 1)
        shared = F.linear(parts, of_part, layer.bias)[self.part_of_joint]
        return (F.linear(joints, of_joint) + shared).transpose(0, 1)

    def forward(
        self, joints: Float[Tensor, "joints batch width"], parts: Float[Tensor, "parts batch width"]
    ) -> Float[Tensor, "joints batch twice_width"]:
        query, key, value = (self.embed(joints, parts, layer) for layer in (self.query, self.key, self.value))
        seen = (query @ key.transpose(1, 2)).softmax(-1) @ value
        change = self.norm(self.linear(seen.transpose(0, 1).flatten(0, 1)))
        return torch.cat([joints, parts[self.part_of_joint]], -1) + change.unflatten(0, joints.shape[:2])


def _layer_names(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    parts = {
        r"gcn\.conv\.": "graph.linear.",
        r"tcn\.0\.": "norm.",
        r"tcn\.3\.": "linear.",
        r"tcn\.4\.": "last_norm.",
        r"residual\.": "shortcut.",
    }
    return tuple((rf"^stgcn\.{theirs}\.{part}", f"{ours}.{our_part}") for part, our_part in parts.items())


class STGCN(Lifter):
    """Lifts one frame; see the module's docstring. Raises ValueError for a skeleton without arms, legs and trunk."""

    by_part: Tensor
    Options: ClassVar[type] = STGCNOptions
    PUBLISHED_NAMES: ClassVar[tuple[tuple[str, str], ...]] = (
        *_layer_names(r"st_gcn_networks\.0", "first.layer"),
        *_layer_names(r"st_gcn_networks\.1", "joint_layers.0"),
        *_layer_names(r"st_gcn_networks\.2", "joint_layers.1"),
        *_layer_names(r"st_gcn_pool\.0", "part_layers.0"),
        *_layer_names(r"st_gcn_pool\.1", "part_layers.1"),
        (r"^stgcn\.data_bn\.", "first.norm."),
        (r"^stgcn\.conv4\.0\.", "part_features.body."),
        (r"^stgcn\.conv4\.1\.", "part_features.body_norm."),
        (r"^stgcn\.conv2\.0\.", "part_features.linear."),
        (r"^stgcn\.conv2\.1\.", "part_features.norm."),
        (r"^stgcn\.non_local\.theta\.", "non_local.query."),
        (r"^stgcn\.non_local\.phi\.", "non_local.key."),
        (r"^stgcn\.non_local\.g\.", "non_local.value."),
        (r"^stgcn\.non_local\.W\.0\.", "non_local.linear."),
        (r"^stgcn\.non_local\.W\.1\.", "non_local.norm."),
        (r"^stgcn\.fcn\.1\.", "last."),
    )

    def __init__(self, skeleton: Skeleton, channels: int, options: STGCNOptions) -> None:
        super().__init__(skeleton, channels)
        width, dropout = options.width, options.graph_dropout
        body = with_neck(skeleton)
        part_of_joint = torch.tensor(body_parts(body))
        self.register_buffer("by_part", part_of_joint.argsort(stable=True), persistent=False)
        self.part_sizes = part_of_joint.bincount().tolist()
        self.neck = body.index("neck") if len(body) > len(skeleton) else None
        joints, parts = body_matrices(body), part_matrices()
        self.first = _First(joints, channels, width, dropout)
        self.joint_layers = nn.Sequential(
            _Layer(joints, width, width, dropout), _Layer(joints, width, 2 * width, dropout)
        )
        self.part_layers = nn.Sequential(
            _Layer(parts, 2 * width, 4 * width, dropout), _Layer(parts, 4 * width, 4 * width, dropout)
        )
        self.part_features = _PartFeatures(4 * width, 2 * width, options)
        self.non_local = _NonLocal(part_of_joint, 2 * width)
        self.dropout = Dropout(options.dropout)
        self.last = nn.Linear(4 * width, 3)
        self.output = GraphOutput(skeleton, options.root)

    def output_layer(self) -> nn.Module:
        """Return the last layer."""
        return self.last

    def forward(self, features: Float[Tensor, "batch frames joints channels"]) -> Float[Tensor, "batch 1 joints 3"]:
        """Lift the middle frame of windows of any length."""
        x = self.joint_layers(self.first(self.add_neck(features[:, features.shape[1] // 2])))
        parts = torch.stack([part.amax(0) for part in x[self.by_part].split(self.part_sizes)])
        parts = self.part_features(self.part_layers(parts))
        return self.output(self.remove_neck(self.last(self.dropout(self.non_local(x, parts)))))

    def add_neck(self, joints: Float[Tensor, "batch joints channels"]) -> Float[Tensor, "batch nodes channels"]:
        """Insert a neck halfway between thorax and head in every channel, where the skeleton has none."""
        if self.neck is None:
            return joints
        thorax, head = (joints[:, self.skeleton.index(name)] for name in ("thorax", "head"))
        neck = 0.5 * (thorax + head)
        return torch.cat([joints[:, : self.neck], neck[:, None], joints[:, self.neck :]], 1)

    def remove_neck(self, nodes: Float[Tensor, "nodes batch 3"]) -> Float[Tensor, "joints batch 3"]:
        """Return the nodes without the one that `add_neck` inserted."""
        return nodes if self.neck is None else torch.cat([nodes[: self.neck], nodes[self.neck + 1 :]])
