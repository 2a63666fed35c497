"""AugLiftV2: features of networks at the joints, embedded and concatenated to each joint's token (METHODS 4.6).

The paper (section 6, appendix G) fuses them into PoseFormer; here any lifter takes them. Each source gets a learned
linear map to 16 channels of its own. Those of the depth network are first reduced to 256 by a learned 1x1 convolution
of its map, which is here a linear map at the joints: bilinear sampling, a weighted mean, and an affine map can change
places, so both orders compute the same. The released code also scales features by percentiles to [-1, 1]; here they
come from maps that end in a layer norm, and stay as they are.

Parameters: 102,672 for 384 channels of a depth network (ViT-S), 12,304 for 768 of a pose network (ViT-B), and those by
which 16 more channels a source widen the lifter's first layer.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lifters.base import Lifter

EMBEDDED = 16
# Sources whose features are reduced before they are embedded, and to how many channels.
REDUCED = {"depth_features": 256}


class FusedLifter(Lifter):
    """A lifter behind the embedding of features.

    lifter: takes `fused_channels`. sources: channels of each source's features, in the order in which they follow the
    plain ones; names are those of the inputs. Raises ValueError for a lifter of another width or for no sources.
    """

    def __init__(self, lifter: Lifter, sources: Mapping[str, int]) -> None:
        plain = lifter.channels - EMBEDDED * len(sources)
        if plain < 1 or not sources:
            raise ValueError(
                f"expected a lifter that takes {EMBEDDED} channels for each of the sources {list(sources)} besides the "
                f"plain ones, got one that takes {lifter.channels}"
            )
        super().__init__(lifter.skeleton, plain + sum(sources.values()))
        self.sizes = [plain, *sources.values()]
        self.lifter = lifter
        self.embeddings = nn.ModuleDict({name: _embedding(name, size) for name, size in sources.items()})

    def forward(self, features: Float[Tensor, "batch frames joints channels"]) -> Tensor:
        """Embed each source's features and lift the plain channels together with the embeddings."""
        plain, *raw = features.split(self.sizes, -1)
        embedded = [embed(part) for embed, part in zip(self.embeddings.values(), raw, strict=True)]
        return self.lifter(torch.cat([plain, *embedded], -1))

    def output_layer(self) -> nn.Module | None:
        """Return the output layer of the lifter behind the embedding."""
        return self.lifter.output_layer()

    def target_frames(self, frames: int) -> slice:
        """Return the frames that the lifter behind the embedding answers for."""
        return self.lifter.target_frames(frames)

    def inference_frames(self, frames: int) -> int:
        """Return the length of windows that the lifter behind the embedding prefers for whole clips."""
        return self.lifter.inference_frames(frames)


def fused_channels(plain: int, sources: Mapping[str, int]) -> int:
    """Count the channels that a lifter behind the embedding takes for each joint.

    Args:
        plain: channels of the input without features.
        sources: channels of each source's features; only their number counts here.

    Returns:
        The plain channels plus 16 for each source.
    """
    return plain + EMBEDDED * len(sources)


def _embedding(name: str, size: int) -> nn.Module:
    if name not in REDUCED:
        return nn.Linear(size, EMBEDDED)
    return nn.Sequential(nn.Linear(size, REDUCED[name]), nn.Linear(REDUCED[name], EMBEDDED))
