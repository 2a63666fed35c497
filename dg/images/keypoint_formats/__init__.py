"""Files of 2D keypoints, recognised by what they hold. To add a format: one file here and one line below; the contract
tests ask for a small file of the exact format (`tests/images/keypoint_files.py`).

The order is the one in which they are tried.
"""

KEYPOINT_FORMATS = {
    "coco": "dg.images.keypoint_formats.coco:Coco",
    "openpose": "dg.images.keypoint_formats.openpose:OpenPose",
    "alphapose": "dg.images.keypoint_formats.alphapose:AlphaPose",
    "mmpose": "dg.images.keypoint_formats.mmpose:MMPose",
    "ultralytics": "dg.images.keypoint_formats.ultralytics:Ultralytics",
    "mediapipe": "dg.images.keypoint_formats.mediapipe:MediaPipe",
    "videopose3d": "dg.images.keypoint_formats.videopose3d:VideoPose3D",
    "npz": "dg.images.keypoint_formats.npz:Npz",
}
