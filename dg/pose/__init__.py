"""The conventions of the whole project, and the types that carry them. Imports torch, numpy and nothing of ours.

* Camera frame: x right, y down, z forward (OpenCV). Metres everywhere; millimetres only in printed metrics.
* 3D joints stay absolute in the camera frame; they are centred on the pelvis (joint 0) in losses and metrics.
* 2D joints are normalised by one side of the image (its width, or the longer side of a portrait frame), so the
  aspect ratio is kept: x = 2 px / side - w / side, y = 2 py / side - h / side. Focal lengths and principal points
  are in the same unit (focal = 2 f_px / side).
* Depth at a joint is the z of the visible surface in metres, camera frame; a joint lies behind it.
* Tensors have the axes `batch frames joints channels`, also for one frame.
"""
