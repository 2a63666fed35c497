"""EvoSkeleton's crossover, mutation and survival, on any skeleton that has the nine limbs."""

from math import acos, degrees

import pytest
import torch

from dg.augment.bone_templates import BoneTemplates
from dg.augment.evolution import ROOTS, SUBTREES, Breeder, Evolution, crossover, learn_validity, mutate, random_turns
from dg.augment.joint_limits import LIMBS, LimbFrames, ValidityMap
from dg.pose.bones import bone_lengths, unit_bones
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_joints

ROWS = 300
both = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
ENDS = [end for _, end in LIMBS]


def distances(one, other):
    """Between all rows, without the rounding of torch's faster formula."""
    return torch.cdist(one.flatten(1), other.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def poses(skeleton, rows=ROWS, noise=0.12, seed=0):
    joints = make_joints(rows, len(skeleton), noise, seed)
    return joints - joints[:, :1]


def breeder(skeleton, cell_deg=20.0, **rates):
    frames = LimbFrames(skeleton)
    people = poses(skeleton)
    templates = BoneTemplates("source", skeleton, bone_lengths(poses(skeleton, 3, seed=5), skeleton))
    return Breeder(Evolution(**rates), frames, learn_validity(people, frames, cell_deg, 45.0), templates), people


def below(skeleton, root):
    """Limb ends in the subtree of a joint, by walking the skeleton."""
    ends = []
    for end in ENDS:
        joint = skeleton.parents[skeleton.index(end)]
        while joint != -1 and skeleton.joints[joint] != root:
            joint = skeleton.parents[joint]
        if joint != -1:
            ends.append(end)
    return ends


@both
def test_limbs_come_back_from_their_local_frames(skeleton):
    frames, joints = LimbFrames(skeleton), make_joints(ROWS, len(skeleton), 0.2)
    torch.testing.assert_close(frames.decode(joints, *frames.encode(joints)), joints, atol=1e-5, rtol=0)


@both
def test_local_directions_know_neither_the_camera_nor_bone_lengths(skeleton):
    frames, joints = LimbFrames(skeleton), poses(skeleton)
    directions, lengths = frames.encode(joints)
    turn = rotation_from_axis_angle(torch.tensor([0.5, -1.0, 2.0]))
    turned, same_lengths = frames.encode(joints @ turn.mT + 3.0)
    torch.testing.assert_close(turned, directions, atol=1e-4, rtol=0)
    torch.testing.assert_close(same_lengths, lengths, atol=1e-5, rtol=0)
    if skeleton is H36M_16:  # a bent neck is part of thorax-to-head, whose direction its lengths change
        factors = 0.5 + torch.rand(15, generator=seeded())
        units, own = unit_bones(joints, skeleton)
        scaled = skeleton.path_matrix() @ (units * (own * factors)[..., None])
        torch.testing.assert_close(frames.encode(scaled)[0], directions, atol=1e-4, rtol=0)


def test_a_straight_person_in_local_axes():
    joints = torch.zeros(1, 16, 3)
    for name, place in {
        "spine": (0, -0.2, 0), "thorax": (0, -0.5, 0), "head": (0, -0.8, 0),
        "left_hip": (0.1, 0, 0), "left_knee": (0.1, 0.4, 0), "left_ankle": (0.1, 0.4, 0.4),
        "right_hip": (-0.1, 0, 0), "right_knee": (-0.1, 0.4, 0), "right_ankle": (-0.1, 0.8, 0),
        "left_shoulder": (0.2, -0.5, 0), "left_elbow": (0.5, -0.5, 0), "left_wrist": (0.5, -0.5, -0.3),
        "right_shoulder": (-0.2, -0.5, 0), "right_elbow": (-0.5, -0.5, 0), "right_wrist": (-0.8, -0.5, 0),
    }.items():  # fmt: skip
        joints[0, H36M_16.index(name)] = torch.tensor(place).float()
    local = LimbFrames(H36M_16).encode(joints)[0][0]
    left, down, back = torch.eye(3)
    # Upper limbs at their rest directions, so that the lower limbs are seen from the trunk's axes too.
    expected = [-down, left, -back, -left, -left, down, back, down, down]
    torch.testing.assert_close(local, torch.stack(expected), atol=1e-5, rtol=0)


@both
def test_a_lower_limb_turns_with_the_upper_one(skeleton):
    frames, joints = LimbFrames(skeleton), poses(skeleton)
    directions, lengths = frames.encode(joints)
    elsewhere = directions.clone()
    upper, lower = ENDS.index("left_elbow"), ENDS.index("left_wrist")
    elsewhere[:, upper] = torch.nn.functional.normalize(torch.randn(ROWS, 3, generator=seeded()), dim=-1)
    angle_before, angle_after = (
        (units[:, skeleton.bone("left_elbow")] * units[:, skeleton.bone("left_wrist")]).sum(-1)
        for units in (unit_bones(j, skeleton)[0] for j in (joints, frames.decode(joints, elsewhere, lengths)))
    )
    rest = torch.tensor([1.0, 0.0, 0.0]).expand(ROWS, 3)
    torch.testing.assert_close(angle_after, angle_before, atol=1e-4, rtol=0)
    torch.testing.assert_close(angle_after, (rest * directions[:, lower]).sum(-1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("off", [0.0, 1e-7, 1e-5, 1e-3])
def test_lower_limbs_keep_their_lengths_where_the_upper_one_points_against_its_rest_direction(off):
    frames, joints = LimbFrames(H36M_16), poses(H36M_16, 50)
    directions, lengths = frames.encode(joints)
    arm = torch.tensor([-1.0, 0.0, 0.0]) + off * torch.randn(50, 3, generator=seeded())
    directions[:, ENDS.index("left_elbow")] = torch.nn.functional.normalize(arm, dim=-1)
    decoded = frames.decode(joints, directions, lengths)
    torch.testing.assert_close(frames.encode(decoded)[1], lengths, atol=2e-6, rtol=0)


def test_the_ten_roots_are_those_of_the_paper_and_the_head_stays():
    assert len(ROOTS) == 10
    for row, root in enumerate(ROOTS):
        swapped = {end for end, below_it in zip(ENDS, SUBTREES[row].tolist(), strict=True) if below_it}
        expected = set(below(H36M_16, root)) - {"head"}
        if root == "pelvis":
            expected = {end for end in expected if "knee" in end or "ankle" in end}
        assert swapped == expected, root


@both
def test_crossover_exchanges_the_subtree_and_nothing_else(skeleton):
    frames = LimbFrames(skeleton)
    fathers, mothers = (frames.encode(poses(skeleton, seed=s))[0] for s in (1, 2))
    roots = torch.arange(ROWS) % len(ROOTS)
    sons, daughters, swapped = crossover(fathers, mothers, roots)
    for row in range(ROWS):
        for limb in range(len(LIMBS)):
            taken = SUBTREES[roots[row], limb]
            assert swapped[row, limb] == taken
            assert torch.equal(sons[row, limb], (mothers if taken else fathers)[row, limb])
            assert torch.equal(daughters[row, limb], (fathers if taken else mothers)[row, limb])


@both
def test_children_have_one_parents_trunk_and_the_others_limb_lengths(skeleton):
    breeding, people = breeder(skeleton, fraction=0.5, local_rate=0.0, global_rate=0.0)
    children = breeding.children(people, seeded(3))
    assert len(children) > 50
    trunk = [skeleton.index(j) for j in ("pelvis", "spine", "thorax", "left_hip", "right_hip", "left_shoulder")]
    apart = distances(children[:, trunk], people[:, trunk])
    own = apart.argmin(1)
    assert apart.amin(1).max() < 1e-4, "a trunk is a parent's"
    directions, lengths = breeding.frames.encode(children)
    parent_directions, parent_lengths = breeding.frames.encode(people)
    apart = distances(lengths, parent_lengths)
    other = apart.argmin(1)
    assert apart.amin(1).max() < 1e-4, "limb lengths are a parent's"
    assert (other != own).all()
    torch.testing.assert_close(directions[:, 0], parent_directions[own, 0], atol=1e-4, rtol=0)
    near = torch.stack([(directions - parent_directions[p]).abs().amax(-1) < 1e-3 for p in (own, other)])
    assert near.any(0).all(), "each limb points as one parent's"
    patterns = {tuple(row) for row in SUBTREES.tolist()}
    assert {tuple(row) for row in (~near[0]).tolist()} <= patterns


@both
def test_mutation_keeps_lengths_and_turns_swapped_limbs_alone(skeleton):
    frames, joints = LimbFrames(skeleton), poses(skeleton, 4000)
    directions, lengths = frames.encode(joints)
    may = SUBTREES[torch.arange(4000) % len(ROOTS)]
    mutated = mutate(directions, may, 0.3, 10.0, seeded())
    assert torch.equal(mutated[~may], directions[~may])
    moved = (mutated != directions).any(-1)
    assert moved[may].float().mean() == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(mutated.norm(dim=-1), torch.ones(4000, 9), atol=1e-5, rtol=0)
    before, after = bone_lengths(joints, skeleton), bone_lengths(frames.decode(joints, mutated, lengths), skeleton)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)


def test_random_turns_are_about_one_axis_by_a_normal_angle():
    turns = random_turns((20_000,), 10.0, seeded())
    fixed = (turns.diagonal(dim1=1, dim2=2) == 1).float()
    assert (fixed.sum(1) >= 1).all()
    one = fixed[fixed.sum(1) == 1]
    assert len(one) > 19_000, "but for the few that hardly turn at all"
    assert ((one.mean(0) - 1 / 3).abs() < 0.02).all()
    trace = turns.diagonal(dim1=1, dim2=2).sum(-1)
    angle = torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1)))
    assert angle.square().mean().sqrt().item() == pytest.approx(10.0, abs=0.3)


@both
def test_every_pose_it_learned_is_valid_and_strange_ones_are_not(skeleton):
    frames, joints = LimbFrames(skeleton), poses(skeleton, 2000)
    directions, _ = frames.encode(joints)
    for cell in (3.0, 7.0, 10.0, 90.0):
        assert learn_validity(joints, frames, cell, 30.0).valid(directions).all()
    valid = learn_validity(joints, frames, 10.0, 30.0)
    strange = directions.clone()
    strange[:, ENDS.index("left_knee")] = torch.tensor([0.0, -1.0, 0.0])  # a thigh that points up
    judged = valid.valid(strange)
    assert not judged[:, ENDS.index("left_knee")].any()
    assert judged[:, ENDS.index("right_ankle")].all()


def test_a_shin_is_judged_by_where_its_thigh_points():
    frames = LimbFrames(H36M_16)
    directions = frames.encode(poses(H36M_16, 2))[0]
    thigh, shin = ENDS.index("left_knee"), ENDS.index("left_ankle")
    directions[:, thigh] = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])  # down, forward
    directions[:, shin] = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # straight, bent
    valid = ValidityMap(10.0, 30.0)
    valid.learn(directions)
    exchanged = directions.clone()
    exchanged[:, shin] = directions.flip(0)[:, shin]
    assert valid.valid(directions).all()
    assert not valid.valid(exchanged)[:, shin].any()
    assert valid.valid(exchanged)[:, thigh].all()


def test_cells_are_as_wide_as_asked():
    valid = ValidityMap(10.0, 90.0)
    directions = torch.nn.functional.normalize(torch.randn(1, 9, 3, generator=seeded()), dim=-1)
    directions[..., 2] = 0.1
    valid.learn(torch.nn.functional.normalize(directions, dim=-1))
    probes = torch.nn.functional.normalize(torch.randn(4000, 3, generator=seeded(1)), dim=-1)
    thigh = ENDS.index("left_knee")
    tried = directions.repeat(4000, 1, 1)
    tried[:, thigh] = probes
    inside = probes[valid.valid(tried)[:, thigh]]
    assert len(inside) > 0
    widest = (inside @ inside.mT).clamp(-1, 1).min().item()
    assert degrees(acos(widest)) <= 14.2, "the diagonal of a cell of 10 degrees"


@both
def test_the_population_grows_as_asked_and_all_of_it_is_valid(skeleton):
    breeding, people = breeder(skeleton, growth=2.5)
    grown = breeding.evolve(people, seeded())
    assert len(grown) == 2.5 * len(people)
    assert grown.isfinite().all()
    assert grown[:, 0].abs().max() == 0
    assert breeding.valid.valid(breeding.frames.encode(grown)[0]).all()
    new = grown[len(people) :]
    assert (distances(new, people).amin(1) > 1e-3).all(), "children are new poses"


@both
def test_without_templates_the_first_population_is_part_of_the_last(skeleton):
    breeding, people = breeder(skeleton, template_rate=0.0)
    assert torch.equal(breeding.evolve(people, seeded())[: len(people)], people)


@both
def test_half_the_poses_get_a_templates_lengths_and_keep_their_directions(skeleton):
    plain, people = breeder(skeleton, template_rate=0.0)
    always, _ = breeder(skeleton, template_rate=1.0)
    half, _ = breeder(skeleton, template_rate=0.5)
    before, after, mixed = (b.evolve(people, seeded()) for b in (plain, always, half))
    templates = half.templates.lengths

    def templated(joints):
        return distances(bone_lengths(joints, skeleton), templates).amin(1) < 1e-3

    assert templated(before).float().mean() < 0.02
    if skeleton is H36M_16:
        assert templated(after).all()
    assert templated(after).float().mean() > 0.7, "but for those whose neck the template would bend out of the map"
    assert templated(mixed).float().mean() == pytest.approx(0.5 * templated(after).float().mean().item(), abs=0.06)
    torch.testing.assert_close(unit_bones(after, skeleton)[0], unit_bones(before, skeleton)[0], atol=1e-4, rtol=0)


def test_the_same_seed_breeds_the_same_and_another_does_not():
    breeding, people = breeder(H36M_17)
    first = breeding.evolve(people, seeded(4))
    assert torch.equal(first, breeding.evolve(people, seeded(4)))
    assert not torch.equal(first, breeding.evolve(people, seeded(5)))


def test_mutants_outside_the_map_die():
    strong, people = breeder(H36M_16, fraction=0.5, local_rate=1.0, local_sigma_deg=120.0)
    weak, _ = breeder(H36M_16, fraction=0.5, local_rate=0.0)
    assert len(strong.children(people, seeded())) < 0.6 * len(weak.children(people, seeded()))


def test_a_map_in_which_nobody_lives_is_an_error_that_says_what_to_do(monkeypatch):
    breeding, people = breeder(H36M_16)
    breeding.valid = ValidityMap()
    monkeypatch.setattr("dg.augment.evolution._LONGEST", 3)
    with pytest.raises(RuntimeError, match=r"only 0 valid children were born, 300 of 750 poses .* make cell_deg"):
        breeding.evolve(people, seeded())
    with pytest.raises(ValueError, match="two poses or more, got 1"):
        breeding.evolve(people[:1], seeded())


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"fraction": 0.6}, r"fraction must lie in \(0, 0.5\]"),
        ({"growth": 0.5}, "growth must be at least 1, got 0.5"),
        ({"template_rate": 1.5}, r"template_rate must lie in \[0, 1\], got 1.5"),
        ({"local_sigma_deg": -1.0}, "angles must not be negative, got local_sigma_deg=-1.0"),
    ],
)
def test_rates_that_make_no_sense_are_refused(rates, message):
    with pytest.raises(ValueError, match=message):
        Evolution(**rates)


def test_cells_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"parent_deg must lie in \(0, 90\] degrees, got 0"):
        ValidityMap(10.0, 0.0)
