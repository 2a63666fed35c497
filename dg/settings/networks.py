"""Hub ids of the published networks that are taken where no other one is named."""

DEPTH_ANYTHING = "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf"  # metres, indoors
RT_DETR = "PekingU/rtdetr_v2_r18vd"  # boxes of people
VIT_POSE = "usyd-community/vitpose-base-simple"  # their 2D joints
