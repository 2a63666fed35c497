"""Augmentors: learned bone angle, bone length and rigid transforms of poses (PoseAug)."""
