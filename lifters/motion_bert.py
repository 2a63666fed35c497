"""MotionBERT's DSTformer: Zhu et al., "MotionBERT: a unified perspective on learning human motion representations",
ICCV 2023 (METHODS 6.6).

Two streams of blocks, joints before frames and frames before joints, mixed for each joint by learned weights; every
frame of the window is answered: many to many. `frames` is 1 to 243, 243 in the paper and 1 here by default. At 17
joints and three channels it has 42,466,317 parameters, whatever `frames` and `root` are, as 243 frame positions are
always kept; the lite form, `width=256 mlp_ratio=4`, has 16,001,549. Each input channel more adds `width`. With
`root=predicted` the outputs agree with the released code to 1e-5. Its network alone normalises with an epsilon of 1e-5,
its training programs, and so its checkpoints, with 1e-6: the option `norm_eps`.

Original recipe (METHODS 6.6): AdamW 2e-4 (lite 5e-4), weight decay 0.01, lr times 0.99 after each epoch, batch 32 clips
of 243 frames, 60 to 120 epochs, loss MPJPE + 0.5 N-MPJPE + 20 velocity, flips.

Departures: the released input is (x, y, detection confidence); ours are the channels of the input spec, (x, y) or
(x, y, depth), so published weights mean something only where the third channel is a confidence. The released targets
are image-space poses scaled by a factor from the truth (METHODS 6.6); ours are root-relative metres. The root is zero
unless `root=predicted`. The loss is the method's. Drop path, off as released, takes whole windows. One frame needs no
temporal queries and keys: they are left out there, with equal outputs and gradients, so with `frames=1` these weights
and all frame positions but the first learn nothing.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.pose.skeleton import Skeleton
from lifters.attention import PreNormBlock, TransformerOptions
from lifters.base import Count, Lifter, Positive, Share
from lifters.recipe import Recipe
from lifters.root import Root

MAX_FRAMES = 243
_SPREAD = 0.02


@dataclass(frozen=True)
class MotionBertOptions(TransformerOptions):
    """frames: the longest window that is taken. representation: width of the layer before the last. norm_eps: of every
    layer norm.
    """

    frames: Count = 1
    width: Count = 512
    depth: Count = 5
    heads: Count = 8
    mlp_ratio: Positive = 2.0
    drop_path: Share = 0.0
    root: Root = "zero"
    representation: Count = 512
    norm_eps: Positive = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames > MAX_FRAMES:
            raise ValueError(f"frames must be 1 to {MAX_FRAMES}, got {self.frames}")


Joints = Float[Tensor, "batch frames joints width"]


class _Stream(nn.Module):
    """A spatial and a temporal block, in either order."""

    def __init__(self, options: MotionBertOptions, drop_path: float, spatial_first: bool) -> None:
        super().__init__()
        self.spatial_first = spatial_first
        self.spatial, self.temporal = (
            PreNormBlock(options.width, options.heads, options.mlp_ratio, drop_path, options.norm_eps) for _ in range(2)
        )

    def forward(self, x: Joints) -> Joints:
        if self.spatial_first:
            return self._over_frames(self.spatial(x))
        return self.spatial(self._over_frames(x))

    def _over_frames(self, x: Joints) -> Joints:
        return self.temporal(x.transpose(1, 2).contiguous()).transpose(1, 2).contiguous()


class _Layer(nn.Module):
    """Both streams, and the weights that mix them."""

    def __init__(self, options: MotionBertOptions, drop_path: float) -> None:
        super().__init__()
        self.spatial_first = _Stream(options, drop_path, spatial_first=True)
        self.temporal_first = _Stream(options, drop_path, spatial_first=False)
        self.fusion = nn.Linear(2 * options.width, 2)

    def forward(self, x: Joints) -> Joints:
        a, b = self.spatial_first(x), self.temporal_first(x)
        # The softmax over two logits is the logistic function of their difference.
        weight, bias = self.fusion.weight[0] - self.fusion.weight[1], self.fusion.bias[0] - self.fusion.bias[1]
        share = torch.sigmoid(a @ weight[: a.shape[-1]] + b @ weight[a.shape[-1] :] + bias)
        return torch.lerp(b, a, share[..., None])


class MotionBert(Lifter):
    """Lifts every frame of a window; see the module's docstring."""

    Options: ClassVar[type] = MotionBertOptions
    PUBLISHED_NAMES: ClassVar[tuple[tuple[str, str], ...]] = (
        (r"^joints_embed\.", "embedding."),
        (r"^pos_embed", "joint_position"),
        (r"^temp_embed", "frame_position"),
        (r"^blocks_st\.(\d+)\.(\w+)_s\.", r"layers.\g<1>.spatial_first.spatial.\g<2>."),
        (r"^blocks_st\.(\d+)\.(\w+)_t\.", r"layers.\g<1>.spatial_first.temporal.\g<2>."),
        (r"^blocks_ts\.(\d+)\.(\w+)_s\.", r"layers.\g<1>.temporal_first.spatial.\g<2>."),
        (r"^blocks_ts\.(\d+)\.(\w+)_t\.", r"layers.\g<1>.temporal_first.temporal.\g<2>."),
        (r"^ts_attn\.(\d+)\.", r"layers.\g<1>.fusion."),
        (r"^pre_logits\.fc\.", "representation."),
    )
    zeroed: Tensor

    @classmethod
    def recipe(cls, options: MotionBertOptions) -> Recipe:
        """Return the original recipe from scratch, with 5e-4 for the lite form (METHODS 6.6).

        One frame has no velocity.
        """
        lr = 2e-4 if options.width >= 512 else 5e-4
        return Recipe("adamw", lr, "exponential", decay=0.99, weight_decay=0.01, loss="motion")

    def __init__(self, skeleton: Skeleton, channels: int, options: MotionBertOptions) -> None:
        super().__init__(skeleton, channels)
        width, joints = options.width, len(skeleton)
        self.receptive_field = options.frames
        self.embedding = nn.Linear(channels, width)
        self.joint_position = nn.Parameter(torch.zeros(1, joints, width))
        self.frame_position = nn.Parameter(torch.zeros(1, MAX_FRAMES, 1, width))
        self.layers = nn.Sequential(*(_Layer(options, p) for p in options.drop_path_schedule()))
        self.norm = nn.LayerNorm(width, eps=options.norm_eps)
        self.representation = nn.Linear(width, options.representation)
        self.head = nn.Linear(options.representation, 3)
        zeroed = (torch.arange(joints) == skeleton.root) & (options.root == "zero")
        self.register_buffer("zeroed", zeroed[:, None], persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for position in (self.joint_position, self.frame_position):
            nn.init.trunc_normal_(position, std=_SPREAD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_SPREAD)
                nn.init.zeros_(module.bias)
        for layer in self.layers.modules():
            if isinstance(layer, _Layer):
                nn.init.zeros_(layer.fusion.weight)
                nn.init.constant_(layer.fusion.bias, 0.5)

    def target_frames(self, frames: int) -> slice:
        """Return all frames of the window.

        Raises ValueError for a window longer than `frames`: positions beyond it have not been trained.
        """
        if not 1 <= frames <= self.receptive_field:
            raise ValueError(
                f"motion_bert was built for windows of 1 to {self.receptive_field} frames, got {frames}; "
                f"give shorter windows or set its option frames, at most {MAX_FRAMES}"
            )
        return slice(0, frames)

    def output_layer(self) -> nn.Module:
        """Return the last layer."""
        return self.head

    def forward(
        self, features: Float[Tensor, "batch frames joints channels"]
    ) -> Float[Tensor, "batch target_frames joints 3"]:
        """Lift every frame of windows of at most `frames` frames."""
        frames = features.shape[1]
        self.target_frames(frames)
        x = self.embedding(features) + (self.joint_position + self.frame_position[:, :frames])
        x = torch.tanh(self.representation(self.norm(self.layers(x))))
        return self.head(x).masked_fill(self.zeroed, 0.0)
