"""The contract of a lifter."""

from abc import ABC, abstractmethod
from dataclasses import fields, replace
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Lt
from jaxtyping import Float
from torch import Tensor, nn

from dg.pose.skeleton import Skeleton
from lifters.recipe import Recipe

# Of options, which `dg.settings.plugins.make_options` checks by their types.
Count = Annotated[int, Gt(0)]
CountOrZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Lt(1)]


class Lifter(nn.Module, ABC):
    """Maps `[batch, frames, joints, channels]` to root-relative joints `[batch, target frames, joints, 3]`, metres.

    Subclasses set `Options` (a frozen dataclass; its fields are the command line's `lifter.*`) and take
    `(skeleton, channels, options)`. Rows of a batch are independent in eval mode, and widening `channels` changes the
    first layer alone.
    """

    Options: ClassVar[type[Any]]
    # Published checkpoints: (their name of a parameter, ours), regular expressions tried in order (lifters.published).
    PUBLISHED_NAMES: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, skeleton: Skeleton, channels: int) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.channels = channels

    @classmethod
    def recipe(cls, options: Any) -> Recipe:  # noqa: ANN401 - the lifter's own dataclass
        """Return how the authors train the lifter that these options describe."""
        return Recipe()

    @classmethod
    def for_frames(cls, options: Any, frames: int) -> Any:  # noqa: ANN401 - the lifter's own dataclass
        """Return the options for windows of a given length.

        Args:
            options: the lifter's options.
            frames: frames in a window, at least 1.

        Returns:
            The options with `frames` set. A lifter whose Options have no `frames` keeps them: it lifts the middle frame
            of any window.

        Raises:
            ValueError: when the options ask for another length.
        """
        if frames == 1 or "frames" not in {f.name for f in fields(options)}:
            return options
        if options.frames not in (1, frames):
            raise ValueError(f"lifter.frames={options.frames}, but frames={frames}; leave lifter.frames out")
        return replace(options, frames=frames)

    def inference_frames(self, frames: int) -> int:
        """Return the best length of windows for lifting a whole clip.

        A subclass returns a longer one where the lifter then answers for more frames at less cost, with the same
        answers.

        Args:
            frames: frames in a training window.

        Returns:
            Frames in a window for inference, at least `frames`.
        """
        return frames

    def output_layer(self) -> nn.Module | None:
        """Return the layer with `weight` and `bias` whose zeros make every answer zero.

        `output_init=zero` starts there. None, for a lifter that has no such layer: it starts as it was built.
        """
        return None

    def answer_zero(self) -> None:
        """Set the output layer to zero, so that training starts from the root and not from noise.

        With random output layers the lifters of this package answer with a spread of 0.1 to 2.3 m at first, where poses
        have some 0.3 m. The layers before it get a gradient from the second step on.
        """
        layer = self.output_layer()
        for name, values in layer.named_parameters(recurse=False) if layer is not None else ():
            if name in ("weight", "bias"):
                nn.init.zeros_(values)

    @abstractmethod
    def forward(self, features: Float[Tensor, "batch frames joints channels"]) -> Tensor:
        """Lift windows of poses.

        Args:
            features: the lifter's input as `PoseBatch.features` builds it.

        Returns:
            Root-relative joints `[batch, target frames, joints, 3]` in the camera frame, metres; `target_frames` says
            which frames of the window they belong to.
        """

    def target_frames(self, frames: int) -> slice:
        """Return the positions of the input frames that the output belongs to.

        It is the middle frame unless a subclass says otherwise.
        """
        return slice(frames // 2, frames // 2 + 1)
