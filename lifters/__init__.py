"""Lifters: 2D joints (and depth) in, root-relative 3D joints out. To add one: one file here and one line below."""

LIFTERS = {
    "simple_baseline": "lifters.simple_baseline:SimpleBaseline",
    "sem_gcn": "lifters.sem_gcn:SemGCN",
    "st_gcn": "lifters.st_gcn:STGCN",
    "video_pose_3d": "lifters.video_pose_3d:VideoPose3D",
    "pose_former": "lifters.pose_former:PoseFormer",
    "motion_bert": "lifters.motion_bert:MotionBert",
}
