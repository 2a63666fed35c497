"""A residual multilayer perceptron: Martinez et al., "A simple yet effective baseline for 3d human pose estimation",
ICCV 2017, in the form PoseAug uses (METHODS 6.1).

One frame: of a longer window the middle one is lifted. Dropout 0.25 and no max-norm, as PoseAug's code, where the paper
has 0.5 and max-norm. 4,288,557 parameters at 16 joints and (x, y); outputs agree with the released code to 1e-5.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from dg.pose.skeleton import Skeleton
from lifters.base import Count, CountOrZero, Lifter, Share
from lifters.dropout import ReLUDropout
from lifters.root import JointOutput, Root


@dataclass(frozen=True)
class SimpleBaselineOptions:
    """root: `zero` outputs every joint but the root, which is set to zero (PoseAug); `predicted` outputs all."""

    width: Count = 1024
    blocks: CountOrZero = 2
    dropout: Share = 0.25
    root: Root = "zero"


class _Layer(nn.Module):
    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs)
        self.activation = ReLUDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.linear(x)))


class SimpleBaseline(Lifter):
    """Lifts one frame; see the module's docstring."""

    Options: ClassVar[type] = SimpleBaselineOptions
    PUBLISHED_NAMES: ClassVar[tuple[tuple[str, str], ...]] = (
        (r"^w1\.", "first.linear."),
        (r"^batch_norm1\.", "first.norm."),
        (r"^linear_stages\.(\d+)\.w1\.", r"blocks.\g<1>.0.linear."),
        (r"^linear_stages\.(\d+)\.w2\.", r"blocks.\g<1>.1.linear."),
        (r"^linear_stages\.(\d+)\.batch_norm1\.", r"blocks.\g<1>.0.norm."),
        (r"^linear_stages\.(\d+)\.batch_norm2\.", r"blocks.\g<1>.1.norm."),
        (r"^w2\.", "last."),
    )

    def __init__(self, skeleton: Skeleton, channels: int, options: SimpleBaselineOptions) -> None:
        super().__init__(skeleton, channels)
        width, dropout = options.width, options.dropout
        self.output = JointOutput(skeleton, options.root)
        self.first = _Layer(len(skeleton) * channels, width, dropout)
        self.blocks = nn.ModuleList(
            nn.Sequential(_Layer(width, width, dropout), _Layer(width, width, dropout)) for _ in range(options.blocks)
        )
        self.last = nn.Linear(width, self.output.size)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def output_layer(self) -> nn.Module:
        """Return the last layer."""
        return self.last

    def forward(
        self, features: Float[Tensor, "batch frames joints channels"]
    ) -> Float[Tensor, "batch target_frames joints 3"]:
        """Lift the middle frame of windows of any length."""
        x = self.first(features[:, self.target_frames(features.shape[1])].flatten(1))
        for block in self.blocks:
            x = x + block(x)
        return self.output(self.last(x)[:, None])
