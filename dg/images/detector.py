"""People in images and their 2D joints: RT-DETR finds them, ViTPose reads COCO's 17 keypoints in each one's box.

METHODS 4.2 has the paper's detectors (RTMDet and RTMPose, box scores above 0.3, top-down); these two take their place
because transformers carries them. RT-DETR: Zhao et al., CVPR 2024, and v2, 2024; it answers each person once, so there
is no suppression of double boxes. ViTPose: Xu et al., NeurIPS 2022; its image processor cuts out the box, 1.25 times as
large, and refines the peaks of the heatmaps by DARK (Zhang et al., CVPR 2020).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dg.images.networks import load_one_of, load_processor
from dg.images.people import Person
from dg.images.settings import DetectorOptions
from dg.pose.skeleton import COCO_17
from dg.settings.networks import RT_DETR, VIT_POSE
from dg.settings.plugins import OptionError
from render_workers.depth.checkpoint_files import DepthCheckpointError, content_digest, find_checkpoint

Image = UInt8[np.ndarray, "_ _ 3"]  # named axes would have to agree between images
_DETECTORS = {"rt_detr": "RTDetrForObjectDetection", "rt_detr_v2": "RTDetrV2ForObjectDetection"}
_POSES = {"vitpose": "VitPoseForPoseEstimation"}
_PERSON = "person"
# Networks of ViTPose+ have an expert for each data set that they were trained on, COCO's the first.
_COCO_EXPERT = 0
# How much larger than a person's box the crop is that ViTPose sees; a constant of its image processor.
_PADDING = 1.25
_SMALLEST_BOX_PX = 2.0


class PersonPoseDetector:
    """Finds the people in images and their COCO keypoints; both networks are on one device.

    Args:
        options: which networks, and how they are run.

    Raises:
        DepthCheckpointError: for a checkpoint that is missing, unreachable or of another kind.
        OptionError: where transformers is not installed, or a GPU is asked for that is not there.
    """

    def __init__(self, options: DetectorOptions) -> None:
        self.options = options
        self.device = torch.device(_device(options.device))
        self.detector_folder = find_checkpoint(options.detector, option="detector", example=RT_DETR)
        self.pose_folder = find_checkpoint(options.pose, option="pose", example=VIT_POSE)
        self._detector = load_one_of("detector", self.detector_folder, _DETECTORS).to(self.device)
        self._detector_images = load_processor("detector", self.detector_folder, "RTDetrImageProcessorPil")
        self._person = _person_label(options.detector, self._detector.config.id2label)
        self._pose = load_one_of("pose", self.pose_folder, _POSES).to(self.device)
        self._pose_images = load_processor("pose", self.pose_folder, "VitPoseImageProcessorPil")
        _check_pose_network(options.pose, self._pose.config, self._pose_images)

    name = "rt-detr+vitpose"  # the 2D source in a protocol id

    def record(self) -> dict[str, Any]:
        """The networks, for the file of an image."""
        return {
            "detector": {"checkpoint": self.options.detector, "digest": content_digest(self.detector_folder)},
            "pose": {"checkpoint": self.options.pose, "digest": content_digest(self.pose_folder)},
        }

    def __call__(self, images: Sequence[Image]) -> list[list[Person]]:
        """The people in each image.

        Args:
            images: RGB, of any sizes.

        Returns:
            For each image its people by score times area, the largest first; the list of an image without people is
            empty.
        """
        found: list[list[Person]] = []
        for start in range(0, len(images), self.options.batch):
            part = images[start : start + self.options.batch]
            found += [self._posed(image, *boxes) for image, boxes in zip(part, self.boxes(part), strict=True)]
        return found

    @torch.no_grad()
    def boxes(self, images: Sequence[Image]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The boxes of the people in each image, by score times area, the largest first.

        Args:
            images: RGB, of any sizes.

        Returns:
            For each image boxes `[people, 4]` (left, top, right, bottom; pixels, within the image) and their scores
            `[people]`.
        """
        inputs = self._detector_images(list(images), input_data_format="channels_last", return_tensors="pt")
        answer = self._detector(inputs["pixel_values"].to(self.device))
        results = self._detector_images.post_process_object_detection(
            answer,
            threshold=self.options.person_score,
            target_sizes=[image.shape[:2] for image in images],
            use_focal_loss=self._detector.config.use_focal_loss,
        )
        return [self._people(image.shape, result) for image, result in zip(images, results, strict=True)]

    def _people(self, shape: tuple[int, ...], result: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        person = (result["labels"] == self._person).cpu().numpy()
        boxes = result["boxes"].float().cpu().numpy()[person]
        scores = result["scores"].float().cpu().numpy()[person]
        boxes = boxes.clip(0, [shape[1], shape[0], shape[1], shape[0]]).astype(np.float32)
        sides = boxes[:, 2:] - boxes[:, :2]
        order = np.argsort(-scores * sides.prod(-1), kind="stable")
        order = order[(sides[order] >= _SMALLEST_BOX_PX).all(-1)]
        order = order[: self.options.max_people or None]
        return boxes[order], scores[order]

    def _posed(self, image: Image, boxes: np.ndarray, scores: np.ndarray) -> list[Person]:
        if not len(boxes):
            return []
        size = self.options.batch
        parts = [self.keypoints(image, boxes[start : start + size]) for start in range(0, len(boxes), size)]
        keypoints, confidence = (np.concatenate(values) for values in zip(*parts, strict=True))
        return [
            Person(*values) for values in zip(boxes, [float(s) for s in scores], keypoints, confidence, strict=True)
        ]

    @torch.no_grad()
    def keypoints(self, image: Image, boxes: Float[np.ndarray, "people 4"]) -> tuple[np.ndarray, np.ndarray]:
        """COCO's keypoints of the people in one image.

        Args:
            image: RGB.
            boxes: left, top, right, bottom of each person, pixels.

        Returns:
            Keypoints `[people, 17, 2]` in pixels, centres at +0.5, and their confidence `[people, 17]` in [0, 1].

        Raises:
            DepthCheckpointError: for a network whose heatmaps are not finite.
        """
        corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], -1)
        crops = self._pose_images(
            [image], boxes=[corner_and_size], input_data_format="channels_last", return_tensors="pt"
        )["pixel_values"].to(self.device)
        experts = {}
        if self._pose.config.backbone_config.num_experts > 1:
            experts["dataset_index"] = torch.full((len(boxes),), _COCO_EXPERT, device=self.device)
        answer = self._pose(crops.float(), **experts)
        if not bool(answer.heatmaps.isfinite().all()):
            raise DepthCheckpointError(f"pose={self.options.pose}: its heatmaps are not finite")
        (people,) = self._pose_images.post_process_pose_estimation(answer, boxes=[corner_and_size])
        # Its pixels' centres lie at whole numbers.
        keypoints = torch.stack([person["keypoints"] for person in people]).numpy() + 0.5
        confidence = torch.stack([person["scores"] for person in people]).numpy()
        return _within_crop(keypoints, boxes, self._pose_images.size), confidence.clip(0, 1).astype(np.float32)


def _within_crop(keypoints: np.ndarray, boxes: np.ndarray, size: Any) -> np.ndarray:  # noqa: ANN401
    """Keypoints no farther out than their crop: the refined peak of a flat heatmap may lie anywhere."""
    centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    aspect = size["width"] / size["height"]
    height = np.maximum(sides[:, 1], sides[:, 0] / aspect)
    half = _PADDING / 2 * np.stack([height * aspect, height], -1)
    inside = keypoints.clip((centre - half)[:, None], (centre + half + 1)[:, None])
    return np.where(np.isfinite(keypoints), inside, centre[:, None]).astype(np.float32)


def _person_label(checkpoint: str, names: dict[int, str]) -> int:
    labels = [int(number) for number, name in names.items() if name.lower() == _PERSON]
    if len(labels) != 1:
        raise DepthCheckpointError(
            f"detector={checkpoint}: expected one class named {_PERSON!r}, it has {sorted(names.values())[:10]} ..."
        )
    return labels[0]


def _check_pose_network(checkpoint: str, config: Any, processor: Any) -> None:  # noqa: ANN401
    if config.num_labels != len(COCO_17):
        raise DepthCheckpointError(
            f"pose={checkpoint}: expected COCO's {len(COCO_17)} keypoints, it has {config.num_labels}"
        )
    size = (processor.size["height"], processor.size["width"])
    if tuple(config.backbone_config.image_size) != size:
        raise DepthCheckpointError(
            f"pose={checkpoint}: its network sees {tuple(config.backbone_config.image_size)} pixels, but its "
            f"preprocessor_config.json makes crops of {size}"
        )


def _device(name: str) -> str:
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("device=cuda, but torch sees no CUDA device; use device=auto or device=cpu")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"
