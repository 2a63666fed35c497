"""Kernels that fit and skin bodies: `dg.body.fit.fit_absolute` and `dg.body.skin.skin`, a launch each.

The functions in torch are the slow twins, which hold the references and the reasons. A pose is computed by itself and
in a fixed order, without fused multiply-adds, so its numbers do not depend on its batch. Frames and units are theirs:
camera frame, metres.
"""

from typing import no_type_check

import torch
import warp as wp

from dg.body.closed_form import DEGENERATE, NEWTON_STEPS, OPPOSITE_EPS, SHORT, SQUARINGS
from dg.body.fit import HEAD_STRETCH
from dg.pose.skeleton import SMPL_24
from render_workers.kernels.module import MODULE

JOINTS = len(SMPL_24)
PELVIS, SPINE1, SPINE3, NECK, HEAD = (SMPL_24.index(n) for n in ("pelvis", "spine1", "spine3", "neck", "head"))
OPPOSITE = (OPPOSITE_EPS * torch.finfo(torch.float32).eps) ** 2
TINY = torch.finfo(torch.float32).tiny
TINY_64 = torch.finfo(torch.float64).tiny
SHORTEST_HEAD, LONGEST_HEAD = HEAD_STRETCH


class _Mapping:
    """Numbers of the mapping, and of one body at rest (its own axes, metres)."""

    source: wp.array[wp.int32]  # for each of SMPL's joints the input's joint, or -1
    tail: wp.array[wp.int32]  # the joints that the stretched bone of each joint joins
    head: wp.array[wp.int32]
    parent: wp.array[wp.int32]
    order: wp.array[wp.int32]  # all joints but the hubs, parents first
    aimed: wp.array[wp.int32]  # whether a joint turns from its parent's frame
    length: wp.array[wp.float32]  # of the bone at rest; 0 where it does not stretch
    joint: wp.array[wp.vec3]  # joints at rest
    axis: wp.array[wp.vec3]  # unit direction of the bone at rest, or zero
    across: wp.array[wp.vec3]  # a unit vector orthogonal to it
    hub: wp.array[wp.int32]  # pelvis and thorax
    hub_tail: wp.array2d[wp.int32]  # the joints that the bones around each hub join
    hub_head: wp.array2d[wp.int32]
    hub_axis: wp.array2d[wp.vec3d]  # their unit directions at rest, or zero
    pin: wp.array[wp.int32]  # joints on whose mean the riders are placed
    rider: wp.array[wp.int32]
    rider_offset: wp.array[wp.vec3]  # from that mean at rest
    tip: wp.array[wp.int32]  # toes and fingers


Mapping = wp.struct(_Mapping)  # not as a decorator: a Struct is no class, and a checker of shapes wraps classes


@wp.func
@no_type_check
def _unit(v: wp.vec3) -> wp.vec3:
    """A zero vector stays zero."""
    return v * (1.0 / wp.sqrt(wp.max(wp.dot(v, v), TINY)))


@wp.func
@no_type_check
def _unit_64(v: wp.vec3) -> wp.vec3d:
    wide = wp.vec3d(wp.float64(v[0]), wp.float64(v[1]), wp.float64(v[2]))
    return wide / wp.sqrt(wp.max(wp.dot(wide, wide), wp.float64(TINY_64)))


@wp.func
@no_type_check
def _aim(frame: wp.mat33, axis: wp.vec3, across: wp.vec3, direction: wp.vec3) -> wp.mat33:
    """`dg.body.closed_form.aim`."""
    a = frame * axis
    middle = a + direction
    square = wp.dot(middle, middle)
    if square < SHORT:
        orthogonal = _unit(a - direction)
        middle = middle - wp.dot(middle, orthogonal) * orthogonal
        square = wp.dot(middle, middle)
    if square < OPPOSITE:
        middle = frame * across
    h = _unit(middle)
    turned = 2.0 * wp.outer(a, axis) - frame
    return 2.0 * wp.outer(h, wp.transpose(turned) * h) - turned


@wp.func
@no_type_check
def _eigen_procrustes(m: wp.mat33d) -> wp.mat33d:
    """`dg.body.closed_form.eigen_procrustes`, of a matrix of unit Frobenius norm or zero."""
    one = wp.float64(1.0)
    trace = wp.trace(m)
    x = m[2, 1] - m[1, 2]
    y = m[0, 2] - m[2, 0]
    z = m[1, 0] - m[0, 1]
    c = m + wp.transpose(m) - trace * wp.identity(n=3, dtype=wp.float64)
    horn = wp.mat44d(
        trace, x, y, z,
        x, c[0, 0], c[0, 1], c[0, 2],
        y, c[1, 0], c[1, 1], c[1, 2],
        z, c[2, 0], c[2, 1], c[2, 2],
    )  # fmt: skip
    power = horn + wp.sqrt(wp.float64(3.0)) * wp.identity(n=4, dtype=wp.float64)
    for _step in range(SQUARINGS):
        power = power * power
        power = power * (one / wp.trace(power))
    largest = power[0, 0]
    q = wp.vec4d(power[0, 0], power[1, 0], power[2, 0], power[3, 0])
    for i in range(1, 4):
        if power[i, i] > largest:
            largest = power[i, i]
            q = wp.vec4d(power[0, i], power[1, i], power[2, i], power[3, i])
    q = q / wp.sqrt(wp.dot(q, q))
    two = wp.float64(2.0)
    w = q[0]
    x = q[1]
    y = q[2]
    z = q[3]
    return wp.mat33d(
        w * w + x * x - y * y - z * z, two * (x * y - w * z), two * (x * z + w * y),
        two * (x * y + w * z), w * w - x * x + y * y - z * z, two * (y * z - w * x),
        two * (x * z - w * y), two * (y * z + w * x), w * w - x * x - y * y + z * z,
    )  # fmt: skip


@wp.func
@no_type_check
def _procrustes(m: wp.mat33d) -> wp.mat33:
    """`dg.body.closed_form.fast_procrustes`."""
    one = wp.float64(1.0)
    four = wp.float64(4.0)
    eight = wp.float64(8.0)
    b = m * (one / wp.max(wp.sqrt(wp.ddot(m, m)), wp.float64(1.0e-30)))
    first = wp.vec3d(b[0, 0], b[1, 0], b[2, 0])
    second = wp.vec3d(b[0, 1], b[1, 1], b[2, 1])
    third = wp.vec3d(b[0, 2], b[1, 2], b[2, 2])
    adjugate = wp.matrix_from_rows(wp.cross(second, third), wp.cross(third, first), wp.cross(first, second))
    det = wp.dot(first, wp.cross(second, third))
    square = wp.ddot(adjugate, adjugate)
    x = wp.sqrt(wp.float64(3.0))
    for _step in range(NEWTON_STEPS):
        s = x * x - one
        slope = wp.max(four * x * s - eight * det, wp.float64(1.0e-12))
        x = x - (s * s - eight * det * x - four * square) / slope
    kappa = wp.float64(0.5) * (x * x - one)
    zeta = kappa * x - det
    if zeta < wp.float64(DEGENERATE):
        return wp.mat33(_eigen_procrustes(b))
    rotation = (kappa + one) * b + x * wp.transpose(adjugate) - b * wp.transpose(b) * b
    return wp.mat33(rotation / zeta)


@wp.func
@no_type_check
def _hub_rotation(b: int, hub: int, mapping: Mapping, positions: wp.array2d(dtype=wp.vec3)) -> wp.mat33:
    """The rotation of pelvis or thorax, from the bones around it."""
    m = wp.mat33d()
    for i in range(mapping.hub_tail.shape[1]):
        bone = positions[b, mapping.hub_head[hub, i]] - positions[b, mapping.hub_tail[hub, i]]
        m = m + wp.outer(_unit_64(bone), mapping.hub_axis[hub, i])
    return _procrustes(m)


@wp.func
@no_type_check
def _stretched(offset: wp.vec3, axis: wp.vec3, factor: float) -> wp.vec3:
    """An offset, longer by `factor` along a unit axis."""
    return offset + ((factor - 1.0) * wp.dot(offset, axis)) * axis


@wp.func
@no_type_check
def _place(b: int, joints: wp.array2d(dtype=wp.vec3), mapping: Mapping, positions: wp.array2d(dtype=wp.vec3)) -> None:
    """Put the input's joints at the numbers of SMPL's."""
    for j in range(JOINTS):
        source = mapping.source[j]
        positions[b, j] = wp.vec3()
        if source >= 0:
            positions[b, j] = joints[b, source]


@wp.func
@no_type_check
def _ride(
    b: int, mapping: Mapping, rotations: wp.array2d(dtype=wp.mat33), positions: wp.array2d(dtype=wp.vec3)
) -> None:
    """Place thorax and collars by neck and shoulders."""
    trunk = wp.length(positions[b, mapping.head[SPINE3]] - positions[b, mapping.tail[SPINE3]]) / mapping.length[SPINE3]
    middle = wp.vec3()
    for i in range(mapping.pin.shape[0]):
        middle = middle + positions[b, mapping.pin[i]]
    middle = middle / float(mapping.pin.shape[0])
    for i in range(mapping.rider.shape[0]):
        offset = _stretched(mapping.rider_offset[i], mapping.axis[SPINE3], trunk)
        positions[b, mapping.rider[i]] = middle + rotations[b, SPINE3] * offset


@wp.func
@no_type_check
def _measure(
    b: int, mapping: Mapping, positions: wp.array2d(dtype=wp.vec3), stretch: wp.array2d(dtype=wp.float32)
) -> None:
    """How much longer bones are than at rest."""
    for j in range(JOINTS):
        stretch[b, j] = 1.0
        if mapping.length[j] > 0.0:
            bone = positions[b, mapping.head[j]] - positions[b, mapping.tail[j]]
            stretch[b, j] = wp.length(bone) / mapping.length[j]
    stretch[b, HEAD] = wp.clamp(stretch[b, NECK], SHORTEST_HEAD, LONGEST_HEAD)


@wp.func
@no_type_check
def _turn(
    b: int, mapping: Mapping, positions: wp.array2d(dtype=wp.vec3), rotations: wp.array2d(dtype=wp.mat33)
) -> None:
    """Rotate all joints but the hubs, parents first."""
    for i in range(mapping.order.shape[0]):
        j = mapping.order[i]
        frame = rotations[b, mapping.parent[j]]
        if mapping.aimed[j] != 0:
            bone = positions[b, mapping.head[j]] - positions[b, mapping.tail[j]]
            frame = _aim(frame, mapping.axis[j], mapping.across[j], _unit(bone))
        rotations[b, j] = frame


@wp.func
@no_type_check
def _complete(
    b: int,
    mapping: Mapping,
    rotations: wp.array2d(dtype=wp.mat33),
    stretch: wp.array2d(dtype=wp.float32),
    positions: wp.array2d(dtype=wp.vec3),
) -> None:
    """Place the joints that follow from the rotations: spine1 on the trunk's bone, toes and fingers."""
    offset = mapping.joint[SPINE1] - mapping.joint[PELVIS]
    offset = _stretched(offset, mapping.axis[SPINE1], stretch[b, SPINE1])
    positions[b, SPINE1] = positions[b, PELVIS] + rotations[b, SPINE1] * offset
    for i in range(mapping.tip.shape[0]):
        j = mapping.tip[i]
        parent = mapping.parent[j]
        positions[b, j] = positions[b, parent] + rotations[b, parent] * (mapping.joint[j] - mapping.joint[parent])


@wp.kernel(module=MODULE)
@no_type_check
def fit(
    joints: wp.array2d(dtype=wp.vec3),
    mapping: Mapping,
    rotations: wp.array2d(dtype=wp.mat33),
    positions: wp.array2d(dtype=wp.vec3),
    stretch: wp.array2d(dtype=wp.float32),
    transforms: wp.array3d(dtype=wp.vec4),
) -> None:
    """Pin bodies to joints, a thread a pose: the parts of a `BodyPose`, and each joint's map of rest points to the
    camera's axes about the pelvis, the rows of a 3 x 4 matrix.
    """
    b = wp.tid()
    _place(b, joints, mapping, positions)
    for i in range(mapping.hub.shape[0]):
        rotations[b, mapping.hub[i]] = _hub_rotation(b, i, mapping, positions)
    _ride(b, mapping, rotations, positions)
    _measure(b, mapping, positions, stretch)
    _turn(b, mapping, positions, rotations)
    _complete(b, mapping, rotations, stretch, positions)
    for j in range(JOINTS):
        r = rotations[b, j]
        linear = r + wp.outer((stretch[b, j] - 1.0) * (r * mapping.axis[j]), mapping.axis[j])
        moved = positions[b, j] - positions[b, PELVIS] - linear * mapping.joint[j]
        for i in range(3):
            transforms[b, j, i] = wp.vec4(linear[i, 0], linear[i, 1], linear[i, 2], moved[i])


# C++, because it lets a CPU skin eight poses at once, a pose a lane: the joints that move a vertex, and how many they
# are, are the same for all of them.
_SKIN = """
#if defined(__CUDA_ARCH__)
    constexpr int lanes = 1;
    const float* maps = (const float*)(transforms.data + (size_t)group * transforms.shape[1] * transforms.shape[2]);
#else
    constexpr int lanes = 8, floats = 24 * 12;
    float maps[floats * lanes];
    const int last = vertices.shape[0] - 1;
    for (int lane = 0; lane < lanes; ++lane) {
        const int b = group * lanes + lane < last ? group * lanes + lane : last;
        const float* map = (const float*)(transforms.data + (size_t)b * floats / 4);
        for (int i = 0; i < floats; ++i)
            maps[i * lanes + lane] = map[i];
    }
#endif
    const int rows = vertices.shape[0] - group * lanes < lanes ? vertices.shape[0] - group * lanes : lanes;
    wp::vec_t<3, float> pelvis[lanes];
    for (int i = 0; i < rows; ++i)
        pelvis[i] = positions.data[(size_t)(group * lanes + i) * positions.shape[1]];
    float* out = (float*)(vertices.data + (size_t)group * lanes * vertices.shape[1]);
    for (int v = first; v < vertices.shape[1]; v += steps) {
        float x[lanes] = {}, y[lanes] = {}, z[lanes] = {};
        for (int term = start.data[v]; term < start.data[v + 1]; ++term) {
            const float* map = maps + (size_t)joint.data[term] * 12 * lanes;
            const float a = blend.data[term][0], b = blend.data[term][1];
            const float c = blend.data[term][2], d = blend.data[term][3];
            for (int i = 0; i < lanes; ++i) {
                const float* m = map + i;
                x[i] += (a * m[0 * lanes] + b * m[1 * lanes]) + (c * m[2 * lanes] + d * m[3 * lanes]);
                y[i] += (a * m[4 * lanes] + b * m[5 * lanes]) + (c * m[6 * lanes] + d * m[7 * lanes]);
                z[i] += (a * m[8 * lanes] + b * m[9 * lanes]) + (c * m[10 * lanes] + d * m[11 * lanes]);
            }
        }
        for (int i = 0; i < rows; ++i) {
            float* point = out + ((size_t)i * vertices.shape[1] + v) * 3;
            point[0] = x[i] + pelvis[i].c[0];
            point[1] = y[i] + pelvis[i].c[1];
            point[2] = z[i] + pelvis[i].c[2];
        }
    }
"""
LANES = 8


@wp.func_native(_SKIN)
@no_type_check
def _skin(
    positions: wp.array2d(dtype=wp.vec3),
    transforms: wp.array3d(dtype=wp.vec4),
    start: wp.array(dtype=wp.int32),
    joint: wp.array(dtype=wp.int32),
    blend: wp.array(dtype=wp.vec4),
    group: int,
    first: int,
    steps: int,
    vertices: wp.array2d(dtype=wp.vec3),
) -> None: ...


@wp.kernel(module=MODULE)
@no_type_check
def skin(
    positions: wp.array2d(dtype=wp.vec3),
    transforms: wp.array3d(dtype=wp.vec4),
    start: wp.array(dtype=wp.int32),
    joint: wp.array(dtype=wp.int32),
    blend: wp.array(dtype=wp.vec4),
    steps: int,
    vertices: wp.array2d(dtype=wp.vec3),
) -> None:
    """Vertices sum_k T_k w_vk (v, 1) over the joints k that move them; a thread (group of poses, vertex)."""
    group, first = wp.tid()
    _skin(positions, transforms, start, joint, blend, group, first, steps, vertices)
