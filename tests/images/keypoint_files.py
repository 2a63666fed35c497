"""Small keypoint files of the exact format of each tool, of people of whom everything is known."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dg.pose.skeleton import BODY_25, COCO_17, H36M_17, HALPE_26, MEDIAPIPE_33, OPENPOSE_18, Skeleton
from tests.conftest import STANDING_17

WIDTH, HEIGHT, FRAMES = 640, 480, 3
MISSING = "left_wrist"  # of the first person in the second frame
_FACE = {"nose": (0, 0.03, -0.1), "eye": (0.03, 0, -0.08), "ear": (0.07, 0.02, 0), "mouth": (0.02, 0.06, -0.08)}
_HAND = {"pinky": (0.02, 0.08, 0), "index": (0, 0.08, -0.02), "thumb": (-0.02, 0.05, -0.03)}
_FOOT = {"heel": (0, 0.05, 0.05), "toe": (0.02, 0.06, -0.14), "index": (0, 0.06, -0.14)}


def body(skeleton: Skeleton) -> np.ndarray:
    """A standing person's joints, metres, by their names."""
    standing = {name: np.array(STANDING_17[i].tolist()) for i, name in enumerate(H36M_17.joints)}
    standing["mid_hip"] = standing["pelvis"]
    if skeleton is not H36M_17:
        standing["neck"] = standing["thorax"]
    return np.stack([_part(name, standing) for name in skeleton.joints])


def _part(name: str, standing: dict[str, np.ndarray]) -> np.ndarray:
    if name in standing:
        return standing[name]
    side = -1 if name.startswith("right") else 1
    mirror = np.array([side, 1, 1])
    for part, shift in _FACE.items():
        if part in name:
            return standing["head"] + mirror * shift
    table, end = (_HAND, "wrist") if name.split("_")[1] in _HAND and "foot" not in name else (_FOOT, "ankle")
    word = name.split("_")[-1]
    return standing[f"{name.split('_')[0]}_{end}"] + mirror * table[word]


@dataclass(frozen=True)
class Truth:
    """joints: `[frames, people, joints, 2]` px, NaN where missing. confidence: alike. tracks: of the people."""

    skeleton: Skeleton
    joints: np.ndarray
    confidence: np.ndarray
    tracks: tuple[int, ...] = (4, 9)

    @property
    def people(self):
        return self.joints.shape[1]


def truth(skeleton: Skeleton = COCO_17, people: int = 2) -> Truth:
    """Two people who walk to the right; the left wrist of the first is missing in the second frame."""
    joints = body(skeleton)
    offsets = np.array([[[-0.6 + 0.1 * f, 0.05, 4.0], [0.7 + 0.1 * f, 0.0, 5.0]] for f in range(FRAMES)])[:, :people]
    placed = joints + offsets[:, :, None]
    pixels = placed[..., :2] / placed[..., 2:] * 600 + [WIDTH / 2, HEIGHT / 2]
    confidence = np.full(pixels.shape[:-1], 0.9)
    pixels = pixels.round(3)
    pixels[1, 0, skeleton.index(MISSING)] = np.nan
    confidence[1, 0, skeleton.index(MISSING)] = 0
    return Truth(skeleton, pixels, confidence)


def triples(made: Truth) -> np.ndarray:
    """`[frames, people, 3 joints]`; 0, 0, 0 is a missing joint."""
    both = np.concatenate([made.joints, made.confidence[..., None]], -1)
    return np.nan_to_num(both).reshape(*both.shape[:2], -1)


def _write(path: Path, tree) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))
    return path


def coco(folder: Path):
    made = truth()
    flat = triples(made)
    flat[..., 2::3] = np.where(flat[..., 2::3] > 0, 2, 0)
    images = [{"id": 10 + f, "file_name": f"{f}.jpg", "width": WIDTH, "height": HEIGHT} for f in range(FRAMES)]
    people = [
        {"id": 100 * f + p, "image_id": 10 + f, "category_id": 1, "keypoints": flat[f, p].tolist(), "iscrowd": 0,
         "num_keypoints": int((flat[f, p, 2::3] > 0).sum()), "bbox": [0, 0, 9, 9], "track_id": made.tracks[p]}
        for f in range(FRAMES) for p in range(2)
    ]  # fmt: skip
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO_17.joints)}]
    return _write(folder / "a.json", {"images": images, "annotations": people, "categories": categories}), made


def coco_results(folder: Path):
    made = truth()
    flat = triples(made)
    tree = [
        {"image_id": 10 + f, "category_id": 1, "keypoints": flat[f, p].tolist(), "score": 0.8}
        for f in range(FRAMES) for p in range(2)
    ]  # fmt: skip
    return _write(folder / "results.json", tree), made


def openpose(folder: Path, skeleton: Skeleton = BODY_25):
    made = truth(skeleton)
    flat = triples(made)
    for f in range(FRAMES):
        people = [
            {"person_id": [-1], "pose_keypoints_2d": flat[f, p].tolist(), "face_keypoints_2d": [],
             "hand_left_keypoints_2d": [], "hand_right_keypoints_2d": [], "pose_keypoints_3d": []}
            for p in range(2)
        ]  # fmt: skip
        _write(folder / "op" / f"walk_{f:012d}_keypoints.json", {"version": 1.3, "people": people})
    return folder / "op", made


def openpose_coco(folder: Path):
    return openpose(folder, OPENPOSE_18)


def alphapose(folder: Path, skeleton: Skeleton = COCO_17):
    made = truth(skeleton)
    flat = triples(made)
    tree = [
        {"image_id": f"{f}.jpg", "category_id": 1, "keypoints": flat[f, p].tolist(), "score": 2.9, "box": [1, 2, 3, 4],
         "idx": [float(made.tracks[p])]}
        for f in range(FRAMES) for p in range(2)
    ]  # fmt: skip
    return _write(folder / "alphapose-results.json", tree), made


def alphapose_halpe(folder: Path):
    return alphapose(folder, HALPE_26)


def _instances(made: Truth, frame: int) -> list[dict]:
    return [
        {"keypoints": np.nan_to_num(made.joints[frame, p]).tolist(),
         "keypoint_scores": made.confidence[frame, p].tolist(), "bbox": [[0, 0, 9, 9]], "bbox_score": 0.9}
        for p in range(made.people)
    ]  # fmt: skip


def mmpose(folder: Path):
    made = truth()
    tree = [{"frame_id": f, "instances": _instances(made, f)} for f in range(FRAMES)]
    return _write(folder / "clip.json", tree), made


def mmpose_folder(folder: Path):
    made = truth(HALPE_26)
    for f in range(FRAMES):
        _write(folder / "predictions" / f"{f}.json", _instances(made, f))
    return folder / "predictions", made


def mmpose_demo(folder: Path):
    made = truth()
    tree = {"meta_info": {"dataset_name": "coco"}, "instance_info": [
        {"frame_id": f, "instances": _instances(made, f)} for f in range(FRAMES)
    ]}  # fmt: skip
    return _write(folder / "results_clip.json", tree), made


def rtmlib(folder: Path):
    made = truth()
    np.savez(folder / "r.npz", keypoints=np.nan_to_num(made.joints), scores=made.confidence)
    return folder / "r.npz", made


def ultralytics(folder: Path):
    made = truth()
    tree = [
        [
            {"name": "person", "class": 0, "confidence": 0.9, "box": {"x1": 0, "y1": 0, "x2": 9, "y2": 9},
             "track_id": made.tracks[p],
             "keypoints": {"x": np.nan_to_num(made.joints[f, p, :, 0]).tolist(),
                           "y": np.nan_to_num(made.joints[f, p, :, 1]).tolist(),
                           "visible": made.confidence[f, p].tolist()}}
            for p in range(2)
        ]
        for f in range(FRAMES)
    ]  # fmt: skip
    return _write(folder / "u.json", tree), made


def ultralytics_labels(folder: Path):
    made = truth()
    shares = np.concatenate([np.nan_to_num(made.joints / [WIDTH, HEIGHT]), made.confidence[..., None]], -1)
    (folder / "labels").mkdir()
    for f in range(FRAMES):
        lines = [
            " ".join(f"{v:.8f}" for v in [0, 0.5, 0.5, 0.2, 0.6, *shares[f, p].reshape(-1)]) + f" 0.9 {made.tracks[p]}"
            for p in range(2)
        ]
        (folder / "labels" / f"clip_{f + 1}.txt").write_text("\n".join(lines) + "\n")
    return folder / "labels", made


def mediapipe(folder: Path):
    made = truth(MEDIAPIPE_33)
    people = [
        [[float(x), float(y), -12.5, float(c)] for (x, y), c in zip(np.nan_to_num(j), s, strict=True)]
        for j, s in zip(made.joints[1], made.confidence[1], strict=True)
    ]
    tree = {"image": "1.jpg", "width": WIDTH, "height": HEIGHT, "people": [{"landmarks": p} for p in people]}
    return _write(folder / "m.json", tree), Truth(made.skeleton, made.joints[1:2], made.confidence[1:2])


def mediapipe_shares(folder: Path):
    made = truth(MEDIAPIPE_33)
    shares = np.nan_to_num(made.joints / [WIDTH, HEIGHT])
    tree = [
        {"pose_landmarks": [
            [{"x": x, "y": y, "z": 0.1, "visibility": c, "presence": 1.0}
             for (x, y), c in zip(shares[f, p].tolist(), made.confidence[f, p].tolist(), strict=True)]
            for p in range(2)
        ]}
        for f in range(FRAMES)
    ]  # fmt: skip
    return _write(folder / "m.json", tree), made


def videopose3d(folder: Path):
    made = truth()
    joints = np.nan_to_num(made.joints).astype(np.float32)
    symmetry = [list(COCO_17.left), list(COCO_17.right)]
    metadata = {"layout_name": "coco", "num_joints": 17, "keypoints_symmetry": symmetry,
                "video_metadata": {"walk.mp4": {"w": WIDTH, "h": HEIGHT}}}  # fmt: skip
    np.savez_compressed(
        folder / "data_2d_custom_walk.npz",
        positions_2d=np.array({"walk.mp4": {"custom": [joints[:, 0], joints[:, 1]]}}, dtype=object),
        metadata=np.array(metadata, dtype=object),
    )
    return folder / "data_2d_custom_walk.npz", made


def npz(folder: Path):
    made = truth(H36M_17)
    rows = made.joints.reshape(-1, 17, 2)
    np.savez(
        folder / "p.npz", joints_2d=rows, confidence=made.confidence.reshape(-1, 17), size=np.array([WIDTH, HEIGHT]),
        image=np.repeat([f"{f}.jpg" for f in range(FRAMES)], 2), track=np.tile(made.tracks, FRAMES),
    )  # fmt: skip
    return folder / "p.npz", made


def npz_normalised(folder: Path):
    made = truth(H36M_17, people=1)
    rows = (2 * made.joints[:, 0] - [WIDTH, HEIGHT]) / WIDTH
    np.savez(folder / "p.npz", pose2d=rows, res=np.array([WIDTH, HEIGHT]))
    return folder / "p.npz", made


# (format, variant) -> maker
FILES = {
    ("coco", "annotations"): coco, ("coco", "results"): coco_results,
    ("openpose", "BODY_25"): openpose, ("openpose", "COCO"): openpose_coco,
    ("alphapose", "17"): alphapose, ("alphapose", "Halpe 26"): alphapose_halpe,
    ("mmpose", "video"): mmpose, ("mmpose", "folder"): mmpose_folder, ("mmpose", "demo"): mmpose_demo,
    ("mmpose", "rtmlib"): rtmlib,
    ("ultralytics", "json"): ultralytics, ("ultralytics", "labels"): ultralytics_labels,
    ("mediapipe", "pixels"): mediapipe, ("mediapipe", "shares"): mediapipe_shares,
    ("videopose3d", "custom"): videopose3d,
    ("npz", "pixels"): npz, ("npz", "normalised"): npz_normalised,
}  # fmt: skip
