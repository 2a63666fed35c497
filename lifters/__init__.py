"""Lifters: 2D joints (and depth) in, root-relative 3D joints out. To add one: one file here and one line below."""

LIFTERS = {
    "simple_baseline": "lifters.simple_baseline:SimpleBaseline",
    "video_pose_3d": "lifters.video_pose_3d:VideoPose3D",
}
