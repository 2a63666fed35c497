"""Temporal convolutions: Pavllo et al., "3D human pose estimation in video with temporal convolutions and
semi-supervised training", CVPR 2019 (METHODS 6.2).

The default is PoseAug's one-frame form, kernel widths [1, 1, 1, 1, 1] and a zero root: 8,485,933 parameters at 16
joints and (x, y); outputs agree with the released code to 1e-5. Widths above 1 give the paper's dilated network: a
window as long as the receptive field (the product of the widths) yields one frame, a longer one all frames that have
their full window. Convolutions are matrix products over unfolded windows, with frames before channels.
"""

from dataclasses import dataclass, replace
from math import log, prod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dg.pose.skeleton import Skeleton
from lifters.base import Lifter
from lifters.relu_dropout import ReLUDropout
from lifters.root import JointOutput


@dataclass(frozen=True)
class VideoPose3DOptions:
    """widths: kernel widths in frames, all odd. root: `zero` (PoseAug) or `predicted` (the original)."""

    widths: tuple[int, ...] = (1, 1, 1, 1, 1)
    width: int = 1024
    dropout: float = 0.25
    root: str = "zero"

    def __post_init__(self) -> None:
        JointOutput.check(self.root)
        if not self.widths or any(w < 1 or w % 2 == 0 for w in self.widths):
            raise ValueError(f"widths must be odd and at least one, got {list(self.widths)}")


class _Convolution(nn.Module):
    """Dilated convolution without bias, batch norm, ReLU and dropout over `[batch, frames, channels]`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.activation = ReLUDropout(dropout)

    def forward(self, x: Float[Tensor, "batch frames inputs"]) -> Float[Tensor, "batch fewer_frames outputs"]:
        (kernel,), (dilation,) = self.convolution.kernel_size, self.convolution.dilation
        weight = self.convolution.weight.movedim(2, 1).flatten(1)
        frames = x.shape[1] - (kernel - 1) * dilation
        if kernel > 1:
            x = torch.cat([x[:, k * dilation : k * dilation + frames] for k in range(kernel)], -1)
        flat = F.linear(x.flatten(0, 1), weight)
        return self.activation(self.norm(flat)).unflatten(0, (-1, frames))


class VideoPose3D(Lifter):
    """Lifts a window of frames; see the module's docstring."""

    Options: ClassVar[type] = VideoPose3DOptions
    PUBLISHED_NAMES: ClassVar[tuple[tuple[str, str], ...]] = (
        (r"^expand_conv\.", "first.convolution."),
        (r"^expand_bn\.", "first.norm."),
        (r"^layers_conv\.(\d+)\.", "{block}.convolution."),
        (r"^layers_bn\.(\d+)\.", "{block}.norm."),
        (r"^shrink\.", "last."),
    )

    def __init__(self, skeleton: Skeleton, channels: int, options: VideoPose3DOptions) -> None:
        super().__init__(skeleton, channels)
        width, dropout = options.width, options.dropout
        self.receptive_field = prod(options.widths)
        self.output = JointOutput(skeleton, options.root)
        self.first = _Convolution(len(skeleton) * channels, width, options.widths[0], 1, dropout)
        self.blocks = nn.ModuleList()
        dilation = options.widths[0]
        for kernel in options.widths[1:]:
            wide = _Convolution(width, width, kernel, dilation, dropout)
            self.blocks.append(nn.Sequential(wide, _Convolution(width, width, 1, 1, dropout)))
            dilation *= kernel
        self.last = nn.Linear(width, self.output.size)

    @classmethod
    def for_frames(cls, options: VideoPose3DOptions, frames: int) -> VideoPose3DOptions:
        """Kernels of 3 whose product is `frames`, where the widths were left at their default.

        Raises ValueError for a number of frames that is no power of 3, or that other widths do not make.
        """
        if frames in (1, prod(options.widths)):
            return options
        blocks = round(log(frames, 3))
        if options.widths != VideoPose3DOptions.widths or 3**blocks != frames:
            raise ValueError(
                f"video_pose_3d with widths={list(options.widths)} cannot see frames={frames}: expected 1, 3, 9, 27, "
                "81, 243, or widths whose product is the number of frames"
            )
        return replace(options, widths=(3,) * blocks)

    def target_frames(self, frames: int) -> slice:
        """The frames that have their full window.

        Raises ValueError for fewer frames than the receptive field.
        """
        if frames < self.receptive_field:
            raise ValueError(
                f"video_pose_3d needs windows of at least {self.receptive_field} frames (the product of its widths), "
                f"got {frames}; give longer windows or smaller widths"
            )
        half = self.receptive_field // 2
        return slice(half, frames - half)

    def forward(
        self, features: Float[Tensor, "batch frames joints channels"]
    ) -> Float[Tensor, "batch target_frames joints 3"]:
        self.target_frames(features.shape[1])
        x = self.first(features.flatten(2))
        for block in self.blocks:
            y = block(x)
            cut = (x.shape[1] - y.shape[1]) // 2
            x = x[:, cut : x.shape[1] - cut] + y
        return self.output(self.last(x))
