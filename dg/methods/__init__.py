"""DG methods. To add one: one file here and one line below; the contract tests pick it up."""

METHODS = {
    "erm": "dg.methods.erm:ERM",
    "random_rigid": "dg.methods.random_rigid:RandomRigid",
    "random_camera": "dg.methods.random_camera:RandomCamera",
    "poseaug": "dg.methods.poseaug:PoseAug",
    "daf_dg": "dg.methods.daf_dg:DAFDG",
    "posegu": "dg.methods.posegu:PoseGU",
    "poseda": "dg.methods.poseda:PoseDA",
    "adaptpose": "dg.methods.adaptpose:AdaptPose",
    "cee_net": "dg.methods.cee_net:CEENet",
    "dh_aug": "dg.methods.dh_aug:DHAug",
    "evoskeleton": "dg.methods.evoskeleton:EvoSkeleton",
}
