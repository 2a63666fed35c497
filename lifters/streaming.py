"""VideoPose3D on frames that come one after another: every layer answers once for each frame and keeps what it still
needs, so that nothing is computed twice (Pavllo et al., CVPR 2019; METHODS 6.2).

A frame costs each weight one multiplication: 16.9 million multiply-adds at 243 frames, 17 joints and (x, y). A window
of its own for each frame costs 2,609 million in the dilated form, 154 times as many, and 176 million in the strided
form, 10.4 times as many.

The answer for a frame comes `delay` frames later, half the receptive field. Before a clip's first frame that frame is
taken as repeated, and after its last frame the last, as `dg.pose.windows` does it: the answers are those of the lifter
for every frame's own window.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lifters.video_pose_3d import ResidualBlock, TemporalConvolution, VideoPose3D


class StreamingVideoPose3D:
    """Lifts clips, all rows of a batch in step, frame by frame or in chunks of any length; see the module's docstring.

    The weights are those that the lifter has when this is made, in eval mode; no gradients. The lifter is not changed.
    """

    @torch.no_grad()
    def __init__(self, lifter: VideoPose3D) -> None:
        self.delay = lifter.receptive_field // 2
        self.output = lifter.output
        self.layers = [_Layer([lifter.first])]
        for block in lifter.blocks:
            assert isinstance(block, ResidualBlock)
            self.layers.append(_Layer(block, block))
        self.last = lifter.last.weight.detach().clone(), lifter.last.bias.detach().clone()
        self._newest: Tensor | None = None
        self._frames = 0

    @torch.no_grad()
    def push(self, features: Float[Tensor, "batch frames joints channels"]) -> Float[Tensor, "batch answered joints 3"]:
        """Take the clips' next frames; the answers that have become possible, `delay` frames behind them.

        Root-relative joints, metres. Raises ValueError for no frames, or other rows than the clips began with.
        """
        if features.shape[1] == 0:
            raise ValueError("expected at least one frame, got none")
        x = features.flatten(2)
        if self._newest is None:
            self._begin(x[:, :1])
        elif len(self._newest) != len(x):
            raise ValueError(f"expected {len(self._newest)} rows, as the clips began with, got {len(x)}")
        self._newest = features[:, -1:]
        before_first = max(self.delay - self._frames, 0)
        self._frames += x.shape[1]
        for layer in self.layers:
            x = layer.push(x)
        return self.output(F.linear(x[:, before_first:], *self.last))

    @torch.no_grad()
    def finish(self) -> Float[Tensor, "batch answered joints 3"]:
        """End the clips and return the answers for their last frames; the next frame begins new clips.

        Raises ValueError where no frame has come.
        """
        if self._newest is None:
            raise ValueError("expected a clip of at least one frame, got none")
        newest, delay = self._newest, self.delay
        rows, _, joints, _ = newest.shape
        answers = self.push(newest.expand(-1, delay, -1, -1)) if delay else newest.new_empty(rows, 0, joints, 3)
        self._newest, self._frames = None, 0
        return answers

    def _begin(self, first: Float[Tensor, "batch 1 inputs"]) -> None:
        """What every layer would hold after endless repetitions of a frame."""
        for layer in self.layers:
            first = layer.begin(first)


class _Layer:
    """Convolutions of which the first looks back, and, in a block, the sum with what they looked at."""

    def __init__(self, convolutions: Iterable[nn.Module], block: ResidualBlock | None = None) -> None:
        found = [convolution for convolution in convolutions if isinstance(convolution, TemporalConvolution)]
        self.wide, self.block = found[0], block
        self.weights = [_folded(convolution) for convolution in found]
        self.past = _Past((self.wide.kernel - 1) * self.wide.dilation)

    def begin(self, x: Float[Tensor, "batch 1 inputs"]) -> Float[Tensor, "batch 1 outputs"]:
        self.past.fill(x)
        return self.push(x)

    def push(self, x: Float[Tensor, "batch frames inputs"]) -> Float[Tensor, "batch frames outputs"]:
        """One answer for each new frame."""
        seen = self.past.push(x)
        y = self.wide.windows(seen)
        for weight, bias in self.weights:
            y = F.linear(y, weight, bias).relu_()
        return y if self.block is None else y.add_(self.block.middles(seen, strided=False))


class _Past:
    """The last frames that a layer was given, with room for the next. Where the room ends they move to its start, so
    that a frame is copied twice at most, however long the layer remembers it.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.room = torch.empty(0, 0, 0)
        self.end = 0

    def fill(self, x: Float[Tensor, "batch 1 channels"]) -> None:
        """Forget; the past is one frame, repeated."""
        self.room = x.new_empty(len(x), 3 * self.frames, x.shape[2])
        self.room[:, : self.frames] = x
        self.end = self.frames

    def push(self, x: Float[Tensor, "batch frames channels"]) -> Float[Tensor, "batch more_frames channels"]:
        """The past with new frames after it: valid until the next push."""
        if self.frames == 0:
            return x
        begin, end = self.end - self.frames, self.end + x.shape[1]
        if end > self.room.shape[1]:
            self._move(begin, x.shape[1])
            begin, end = 0, self.frames + x.shape[1]
        self.room[:, self.end : end] = x
        self.end = end
        return self.room[:, begin:end]

    def _move(self, begin: int, new_frames: int) -> None:
        past = self.room[:, begin : self.end]
        # As long as there is room for the past twice and the new frames, the old and the new place do not overlap.
        if self.room.shape[1] < 2 * self.frames + new_frames:
            self.room = self.room.new_empty(len(past), 2 * (self.frames + new_frames), past.shape[2])
        self.room[:, : self.frames] = past
        self.end = self.frames


def _folded(convolution: TemporalConvolution) -> tuple[Float[Tensor, "outputs taps"], Float[Tensor, " outputs"]]:
    """Weights and bias of a convolution with its batch norm in eval mode."""
    norm = convolution.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return (convolution.matrix * scale[:, None]).contiguous(), norm.bias - norm.running_mean * scale
