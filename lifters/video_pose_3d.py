"""Temporal convolutions: Pavllo et al., "3D human pose estimation in video with temporal convolutions and
semi-supervised training", CVPR 2019 (METHODS 6.2).

The default is PoseAug's one-frame form, kernel widths [1, 1, 1, 1, 1] and a zero root: 8,485,933 parameters at 16
joints and (x, y); outputs agree with the released code to 1e-5. Widths above 1 give the paper's network: a window as
long as the receptive field (the product of the widths) yields one frame, a longer one all frames that have their full
window. `frames=T` chooses the widths: 9, 27, 81 or 243 frames are [3, 3] to [3, 3, 3, 3, 3], with 4,357,171 /
8,555,571 / 12,753,971 / 16,952,371 parameters at 17 joints, (x, y) and `root=predicted` (METHODS 6.2).

Two forms on the same weights, with equal outputs in eval mode. Dilated: every layer answers for every frame, which is
cheap where many frames are asked for. Strided: every layer answers only where the one frame asked for needs it; it is
used for windows as long as the receptive field. In training their batch norms differ: the strided form's statistics are
of the frames that it computes, as in the paper's training. Frames that come one by one: `lifters.streaming`.
Convolutions are matrix products over unfolded windows, with frames before channels.

Original recipe (METHODS 6.2): Adam with AMSGrad, 1e-3 times 0.95 after each epoch, batch 1024, 60 to 80 epochs, MPJPE,
batch-norm momentum from 0.1 to 0.001, flips in training and test, one frame a window.
"""

from dataclasses import dataclass, replace
from math import log, prod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dg.pose.skeleton import Skeleton
from lifters.base import Count, Lifter, Share
from lifters.dropout import ReLUDropout
from lifters.recipe import Recipe
from lifters.root import JointOutput, Root

_MORE_FRAMES = 512  # answered for at a time when a clip is lifted


@dataclass(frozen=True)
class VideoPose3DOptions:
    """widths: kernel widths in frames, all odd. root: `zero` (PoseAug) or `predicted` (the original)."""

    widths: tuple[int, ...] = (1, 1, 1, 1, 1)
    width: Count = 1024
    dropout: Share = 0.25
    root: Root = "zero"

    def __post_init__(self) -> None:
        if not self.widths or any(w < 1 or w % 2 == 0 for w in self.widths):
            raise ValueError(f"widths must be odd and at least one, got {list(self.widths)}")


class TemporalConvolution(nn.Module):
    """Convolution over frames without bias, batch norm, ReLU and dropout, `[batch, frames, channels]`.

    dilation: frames between its taps in the dilated form; in the strided form they lie side by side.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.kernel, self.dilation = kernel, dilation
        self.convolution = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.activation = ReLUDropout(dropout)

    @property
    def matrix(self) -> Float[Tensor, "outputs taps"]:
        """The weights as a matrix over the taps of `windows`: earliest frame first, its channels together."""
        return self.convolution.weight.movedim(2, 1).flatten(1)

    def windows(self, x: Float[Tensor, "batch frames inputs"]) -> Float[Tensor, "batch fewer_frames taps"]:
        """Collect the frames that each full dilated window reads."""
        if self.kernel == 1:
            return x
        frames = x.shape[1] - (self.kernel - 1) * self.dilation
        return torch.cat([x[:, k * self.dilation : k * self.dilation + frames] for k in range(self.kernel)], -1)

    def forward(
        self, x: Float[Tensor, "batch frames inputs"], strided: bool
    ) -> Float[Tensor, "batch fewer_frames outputs"]:
        """Convolve over the frames.

        Args:
            x: features of the frames.
            strided: whether windows lie side by side, so that the number of frames is a multiple of the kernel's width;
                otherwise every window is answered.

        Returns:
            Features of the frames that have their full window.
        """
        # Windows side by side are the frames themselves, read in longer rows: nothing is copied.
        taps = x.unflatten(1, (-1, self.kernel)).flatten(2) if strided else self.windows(x)
        flat = F.linear(taps.flatten(0, 1), self.matrix)
        return self.activation(self.norm(flat)).unflatten(0, (-1, taps.shape[1]))


class ResidualBlock(nn.ModuleList):
    """A wide convolution and one of width 1, added to the frames in the middle of what they looked at.

    strided: whether windows lie side by side; otherwise every window is answered.
    """

    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        wide = TemporalConvolution(width, width, kernel, dilation, dropout)
        super().__init__([wide, TemporalConvolution(width, width, 1, 1, dropout)])
        self.kernel, self.dilation = kernel, dilation

    def middles(
        self, x: Float[Tensor, "batch frames width"], strided: bool
    ) -> Float[Tensor, "batch fewer_frames width"]:
        """Select the middle frame of each window, to which the block's outputs belong."""
        if strided:
            return x[:, self.kernel // 2 :: self.kernel]
        cut = self.kernel // 2 * self.dilation
        return x[:, cut : x.shape[1] - cut]

    def forward(
        self, x: Float[Tensor, "batch frames width"], strided: bool
    ) -> Float[Tensor, "batch fewer_frames width"]:
        """Apply the block in its strided or dilated form, to the frames that have their full window."""
        y = x
        for convolution in self:
            y = convolution(y, strided)
        return self.middles(x, strided) + y


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
        self.first = TemporalConvolution(len(skeleton) * channels, width, options.widths[0], 1, dropout)
        self.blocks = nn.ModuleList()
        dilation = options.widths[0]
        for kernel in options.widths[1:]:
            self.blocks.append(ResidualBlock(width, kernel, dilation, dropout))
            dilation *= kernel
        self.last = nn.Linear(width, self.output.size)

    @classmethod
    def recipe(cls, options: VideoPose3DOptions) -> Recipe:
        """Return PoseAug's recipe for one frame, and the original's for more (METHODS 6.2)."""
        if prod(options.widths) == 1:
            return Recipe()
        return Recipe("adam_amsgrad", 1e-3, "exponential", decay=0.95, loss="mpjpe", norm_momentum=(0.1, 0.001))

    @classmethod
    def for_frames(cls, options: VideoPose3DOptions, frames: int) -> VideoPose3DOptions:
        """Return options with kernels of 3 whose product is `frames`, where the widths were left at their default.

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

    def inference_frames(self, frames: int) -> int:
        """Return longer windows, in which the dilated form shares work between frames; a single frame stays alone."""
        return frames if frames == 1 else frames + _MORE_FRAMES - 1

    def target_frames(self, frames: int) -> slice:
        """Return the frames that have their full window.

        Raises ValueError for fewer frames than the receptive field.
        """
        if frames < self.receptive_field:
            raise ValueError(
                f"video_pose_3d needs windows of at least {self.receptive_field} frames (the product of its widths), "
                f"got {frames}; give longer windows or smaller widths"
            )
        half = self.receptive_field // 2
        return slice(half, frames - half)

    def output_layer(self) -> nn.Module:
        """Return the last layer."""
        return self.last

    def forward(
        self, features: Float[Tensor, "batch frames joints channels"]
    ) -> Float[Tensor, "batch target_frames joints 3"]:
        """Lift every frame that has its full window; windows as long as the receptive field take the strided form."""
        return self.lift(features, strided=features.shape[1] == self.receptive_field)

    def lift(
        self, features: Float[Tensor, "batch frames joints channels"], strided: bool
    ) -> Float[Tensor, "batch target_frames joints 3"]:
        """Lift windows in one of the two forms.

        Args:
            features: the lifter's input as `PoseBatch.features` builds it.
            strided: take the strided form, whose windows are as long as the receptive field; otherwise the dilated one.

        Returns:
            Root-relative joints of the frames that have their full window, metres.

        Raises:
            ValueError: for windows of another length in the strided form, or shorter ones in the dilated form.
        """
        frames = features.shape[1]
        self.target_frames(frames)
        if strided and frames != self.receptive_field:
            raise ValueError(f"the strided form takes windows of {self.receptive_field} frames, got {frames}")
        x = self.first(features.flatten(2), strided)
        for block in self.blocks:
            x = block(x, strided)
        return self.output(self.last(x))
