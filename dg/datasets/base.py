"""The contract of a data set: contiguous poses with what is known of each row, and the id of its protocol."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, get_origin
from urllib.parse import parse_qsl

import torch
from jaxtyping import Int
from torch import Tensor

from dg.pose.batch import PoseBatch
from dg.settings.errors import DATA
from dg.settings.reader import home

SPLITS = ("train", "val", "test")
NOT_DRAWN = "not_drawn"  # among the notes: how many poses have no depth of their own


class DataError(ValueError):
    """A data file that is missing or malformed: the message names file, expectation, finding and remedy."""

    exit_code = DATA


@dataclass(frozen=True)
class PoseDataset:
    """All poses of one split as one PoseBatch (frames axis 1), in clip order.

    subject, action: numbers into the name lists. clip: number of the clip (one person, one take, one camera); rows of
    a clip are consecutive and in time order. fps after any stride. name: what tables call it. flavour: which ground
    truth. source_2d: `gt` or the detector. source_depth: `images` where the poses bring depth from images with them
    (`dg.datasets.image_depth`); empty: it is drawn. digest: of the tensors, for caches and for the noise of drawn
    depth. content: of what was read (`dg.datasets.content`), which identifies the data in protocol ids; depth_content:
    of the file that depth was read from. features: channels of each feature that came with it. norm: by what the 2D is
    divided (`Protocol.norm`). family: what protocol ids call the data set where a label of the user's took the place of
    its name; empty: its name.
    """

    name: str
    poses: PoseBatch
    subject: Int[Tensor, " rows"]
    action: Int[Tensor, " rows"]
    clip: Int[Tensor, " rows"]
    subjects: tuple[str, ...]
    actions: tuple[str, ...]
    fps: float
    digest: str
    flavour: str = "camera-frame"
    source_2d: str = "gt"
    source_depth: str = ""
    flip_tta: bool = False
    content: str = ""
    depth_content: str = ""
    features: dict[str, int] = field(default_factory=dict)
    norm: str = "frame"
    family: str = ""
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "/" in self.name or not self.name:
            raise DataError(
                f"expected a data set's label without '/', which protocol ids put between parts, got {self.name!r}"
            )

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def identity(self) -> str:
        """Which data these are, whatever they are called: equal for equal content, on every machine."""
        return self.content or self.digest

    @property
    def tta(self) -> str:
        """The test-time augmentation that belongs to this test set: `none` or `flip`."""
        return "flip" if self.flip_tta else "none"

    def called(self, label: str) -> "PoseDataset":
        """Return the same data under a label of the user's; protocol ids still say which set it is."""
        return replace(self, name=label, family=self.family or self.name)

    def protocol(self, depth_source: str, tta: str | None = None) -> str:
        """Return the protocol id (DESIGN 5.9): numbers may stand side by side only where these agree.

        Args:
            depth_source: name of the source of rendered depth, or `none`; depth that the poses brought with them goes
                by its own name.
            tta: the test-time augmentation in use, where it is not the test set's own.

        Returns:
            The id.
        """
        joints, tta = self.poses.skeleton.name, tta or self.tta
        depth = depth_source if depth_source == "none" else self.source_depth or depth_source
        described = f"{self.family or self.name}/{self.flavour}/n{len(self)}/{joints}"
        norm = "" if self.norm == "frame" else f"/norm={self.norm}"
        drawn = depth == "none" or not self.source_depth
        depth_file = "" if drawn else f"/depth_data={self.depth_content or self.digest}"
        return f"{described}/2d={self.source_2d}{norm}/depth={depth}{depth_file}/tta={tta}/data={self.identity}"


class Dataset(ABC):
    """A data set. `Options` is a frozen dataclass (the command line's `data.*`); `splits` are those it can give."""

    Options: ClassVar[type[Any]]
    located_by: ClassVar[str] = "root"  # the option that says where the data lie
    splits: tuple[str, ...] = SPLITS

    def __init__(self, options: Any) -> None:  # noqa: ANN401 - each data set's own dataclass
        self.options = options

    @abstractmethod
    def load(self, split: str) -> PoseDataset:
        """Return the poses of a split in this data set's own skeleton.

        Args:
            split: `train`, `val` (source validation, people or clips that are not in train) or `test`.

        Returns:
            The poses with their labels, in the camera frame, metres.

        Raises:
            DataError: naming the file and the reason.
        """

    @classmethod
    def options_for_target(cls, argument: str) -> dict[str, Any]:
        """Read the options in the text after a target's colon.

        The text is `PLACE?option=value&option=value`, where PLACE is the option named by `located_by`; parts of a tuple
        are joined by `+`. Values stay text, which `dg.settings.plugins.make_options` types and checks.
        """
        place, _, query = argument.partition("?")
        lists = {f.name for f in fields(cls.Options) if get_origin(f.type) is tuple}
        given = {name: text.replace(" ", "+") for name, text in parse_qsl(query, keep_blank_values=True)}
        parted = {name: text.split("+") if name in lists else text for name, text in given.items()}
        return {cls.located_by: home(place)} | parted

    @classmethod
    def target_options(cls, argument: str) -> tuple[dict[str, Any], str]:
        """What the text after a target's colon says: the data set's own options, and the label that tables call it by.

        Args:
            argument: `PLACE?option=value`.

        Returns:
            The options, and the label where the data set has no such option of its own, else an empty one.
        """
        options = cls.options_for_target(argument)
        own = {f.name for f in fields(cls.Options)}
        return options, "" if "label" in own else str(options.pop("label", ""))


def content_digest(*tensors: Tensor) -> str:
    """Return a short digest of tensors' values, equal on every machine."""
    import hashlib

    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        # A view of the bytes: a copy would double the peak of loading Human3.6M.
        digest.update(tensor.detach().cpu().to(torch.float32).contiguous().numpy().data.cast("B"))
    return digest.hexdigest()
