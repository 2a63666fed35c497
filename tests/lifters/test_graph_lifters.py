import math

import pytest
import torch

from dg.pose.skeleton import H36M_16, H36M_17, MPI_INF_3DHP_17, SKELETONS, Skeleton
from dg.settings.plugins import make_options
from lifters.dropout import Dropout
from lifters.graph import body_matrices, body_parts, centre_distance, part_matrices, spatial_matrices, with_neck
from lifters.row_norm import RowBatchNorm
from lifters.sem_gcn import SemanticConvolution, SemGCN, SemGCNOptions
from lifters.st_gcn import STGCN, GraphConvolution, STGCNOptions
from tests.bench.plain_graph_lifters import PlainSemGCN, PlainSTGCN

NO_DROPOUT = {"graph_dropout": 0.0, "body_dropout": 0.0, "dropout": 0.0}

every_skeleton = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
every_graph_lifter = pytest.mark.parametrize("name", ["sem_gcn", "st_gcn"])


def make(name, skeleton, root="predicted", width=16):
    """Small, and every bias, norm and edge logit drawn: some start at values that would hide what they do."""
    if name == "sem_gcn":
        lifter = SemGCN(skeleton, 3, SemGCNOptions(width=width, root=root))
    else:
        lifter = STGCN(skeleton, 3, STGCNOptions(width=width, root=root, **NO_DROPOUT))
    for parameter in lifter.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return lifter


def twin_of(lifter):
    return PlainSemGCN(lifter) if isinstance(lifter, SemGCN) else PlainSTGCN(lifter)


@pytest.fixture
def double_precision():
    """So that a difference is a mistake, and not rounding that a normalisation of small numbers has magnified."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def warm(lifter, features):
    """Running statistics of these features."""
    norms = [module for module in lifter.modules() if isinstance(module, RowBatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    lifter.train()(features)


@pytest.mark.usefixtures("double_precision")
@every_graph_lifter
@every_skeleton
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_are_those_of_a_plain_twin(name, skeleton, training):
    lifter = make(name, skeleton)
    features = torch.randn(24, len(skeleton), 3)
    warm(lifter, features[:, None])
    lifter.train(training)
    features.requires_grad_()
    target = torch.randn(len(skeleton), 3)
    sources = [features, *lifter.parameters()]
    outputs, gradients = [], []
    for lift in (lambda x: lifter(x[:, None])[:, 0], twin_of(lifter)):
        outputs.append(lift(features))
        loss = (outputs[-1] - target).square().mean()
        gradients.append(torch.autograd.grad(loss, sources))
    assert outputs[0].std(0).min() > 0.01
    torch.testing.assert_close(*outputs, atol=1e-10, rtol=1e-8)
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-9, rtol=1e-8)


@every_graph_lifter
@every_skeleton
def test_swapped_sides_give_swapped_joints(name, skeleton):
    """A fresh network treats left and right alike, so relabelling them commutes with it."""
    options = {"sem_gcn": SemGCNOptions(width=16), "st_gcn": STGCNOptions(width=16, **NO_DROPOUT)}[name]
    lifter = {"sem_gcn": SemGCN, "st_gcn": STGCN}[name](skeleton, 2, options)
    if isinstance(lifter, STGCN):
        torch.nn.init.ones_(lifter.non_local.norm.weight)
    features = torch.randn(8, 1, len(skeleton), 2)
    plain, swapped = lifter(features), lifter(features[:, :, list(skeleton.flip)])
    assert (plain - swapped).abs().max() > 0.01
    torch.testing.assert_close(swapped, plain[:, :, list(skeleton.flip)], atol=1e-5, rtol=1e-4)


@every_graph_lifter
def test_the_root_is_zero_unless_asked_for(name):
    torch.manual_seed(0)
    predicted = make(name, MPI_INF_3DHP_17).eval()
    torch.manual_seed(0)
    centred = make(name, MPI_INF_3DHP_17, root="centred").eval()
    features, root = torch.randn(5, 1, 17, 3), MPI_INF_3DHP_17.root
    raw, output = predicted(features), centred(features)
    assert root != 0
    assert (raw[:, :, root].abs() > 0).all()
    assert (output[:, :, root] == 0).all()
    torch.testing.assert_close(output, raw - raw[:, :, root : root + 1])
    with pytest.raises(ValueError, match="root must be one of"):
        make_options({"sem_gcn": SemGCN, "st_gcn": STGCN}[name], "lifter", name, {"root": "zero"})


@every_graph_lifter
def test_one_pose_is_lifted_from_the_middle_frame(name):
    lifter = make(name, H36M_16).eval()
    window = torch.randn(1, 5, 16, 3)
    output = lifter(window)
    assert output.shape == (1, 1, 16, 3)
    assert torch.equal(output, lifter(window[:, 2:3]))


@every_graph_lifter
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_every_skeleton_is_lifted(name, skeleton):
    output = make(name, skeleton).eval()(torch.randn(2, 1, len(skeleton), 3))
    assert output.shape == (2, 1, len(skeleton), 3)
    assert torch.isfinite(output).all()


@every_graph_lifter
def test_the_graph_moves_with_the_network_and_is_not_saved(name):
    lifter = make(name, H36M_16).to("meta").train()
    assert lifter(torch.empty(4, 1, 16, 3, device="meta")).device.type == "meta"
    graph = [n for n, buffer in lifter.named_buffers() if n.split(".")[-1] not in ("running_mean", "running_var")]
    saved = [n for n in graph if n in lifter.state_dict() and not n.endswith("num_batches_tracked")]
    assert len(graph) > 5
    assert not saved


def test_semantic_weights_are_a_softmax_over_the_edges_of_each_row():
    convolution = SemanticConvolution(H36M_16, 2, 8)
    logits = torch.randn(46)
    convolution.logits.data.copy_(logits)
    edges = H36M_16.adjacency() + torch.eye(16)
    weights = convolution.weights()
    position = 0
    for row in range(16):
        columns = [column for column in range(16) if edges[row, column] > 0]
        powers = [math.exp(logits[position + k]) for k in range(len(columns))]
        expected = torch.zeros(16)
        expected[columns] = torch.tensor(powers) / sum(powers)
        torch.testing.assert_close(weights[row], expected)
        position += len(columns)
    assert position == 46


@pytest.mark.parametrize(
    ("matrices", "products"), [(body_matrices(H36M_17), 53), (part_matrices(), 11), (body_matrices(H36M_16), 50)]
)
def test_a_graph_convolution_is_the_sum_over_its_matrices(matrices, products):
    """With fewer products than nodes times matrices, 68, 20 and 64: one for each node, each node that others hang from
    (for both directions) and each that has a twin.
    """
    convolution = GraphConvolution(matrices, 6, 7)
    nodes = matrices.shape[1]
    x = torch.randn(nodes, 5, 6)
    expected = torch.zeros(nodes, 5, 7)
    for k, matrix in enumerate(matrices):
        weight, bias = (p[7 * k : 7 * k + 7] for p in (convolution.linear.weight, convolution.linear.bias))
        for v in range(nodes):
            for w in range(nodes):
                expected[v] += matrix[v, w] * (x[w] @ weight.T + bias)
    torch.testing.assert_close(convolution(x), expected, atol=1e-5, rtol=1e-5)
    assert nodes + sum(convolution.rows) == products == convolution.scatter.shape[1]


def test_the_body_is_what_the_released_code_writes_down():
    """METHODS 6.4: distances to the centre, joints of the parts, edges and pairs, of Human3.6M's 17 joints."""
    assert centre_distance(H36M_17) == [1, 2, 3, 4, 2, 3, 4, 0, 1, 2, 3, 2, 3, 4, 2, 3, 4]
    parts = body_parts(H36M_17)
    found = [[joint for joint in range(17) if parts[joint] == part] for part in range(5)]
    assert found == [[11, 12, 13], [14, 15, 16], [4, 5, 6], [1, 2, 3], [0, 7, 8, 9, 10]]
    links = body_matrices(H36M_17) > 0
    assert [int(part.sum()) for part in links] == [17, 16, 16, 12]
    # The thorax takes a fifth each of itself, neck and shoulders, which are farther from the centre, and the spine.
    thorax = body_matrices(H36M_17)[:, 8]
    assert thorax[0].nonzero().flatten().tolist() == [8]
    assert thorax[1].nonzero().flatten().tolist() == [9, 11, 14]
    assert thorax[2].nonzero().flatten().tolist() == [7]
    torch.testing.assert_close(thorax[thorax > 0], torch.full((5,), 0.2))
    assert body_matrices(H36M_17)[3].nonzero().tolist()[:3] == [[1, 4], [2, 5], [3, 6]]


def test_every_node_takes_a_mean_over_itself_and_its_neighbours():
    matrices = spatial_matrices([(0, 1), (1, 2), (1, 3)], [(2, 3)], [1, 0, 1, 1])
    torch.testing.assert_close(matrices.sum((0, 2)), torch.ones(4))
    assert torch.equal(matrices[1].nonzero(), torch.tensor([[1, 0], [1, 2], [1, 3]]))
    assert torch.equal(matrices[2].nonzero(), torch.tensor([[0, 1], [2, 1], [3, 1]]))
    assert torch.equal(matrices[3].nonzero(), torch.tensor([[2, 3], [3, 2]]))


def test_a_neck_makes_16_joints_17():
    body = with_neck(H36M_16)
    assert (body.joints, body.parents) == (H36M_17.joints, H36M_17.parents)
    assert with_neck(H36M_17) is H36M_17
    lifter = make("st_gcn", H36M_16)
    features = torch.randn(2, 16, 3)
    nodes = lifter.add_neck(features)
    torch.testing.assert_close(nodes[:, 9], 0.5 * (features[:, 8] + features[:, 9]))
    assert torch.equal(lifter.remove_neck(nodes.transpose(0, 1)), features.transpose(0, 1))


def test_a_body_without_limbs_is_refused():
    torso = Skeleton("torso", ("pelvis", "spine", "head"), (-1, 0, 1))
    with pytest.raises(ValueError, match="torso needs joints of both arms"):
        STGCN(torso, 2, STGCNOptions())


def test_row_norm_is_batch_norm():
    rows, ours, plain = torch.randn(50, 7) * 3 + 1, RowBatchNorm(7), torch.nn.BatchNorm1d(7)
    plain.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(rows), plain(rows))
    assert ours.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(ours.running_var, plain.running_var)
    torch.testing.assert_close(ours.eval()(rows), plain.eval()(rows))


def test_dropout_drops_the_asked_share_and_scales_the_rest():
    module, x = Dropout(0.25).train(), torch.randn(500, 201, requires_grad=True)
    y = module(x)
    kept = y != 0
    assert abs(kept.float().mean() - 0.75) < 0.01
    torch.testing.assert_close(y[kept], x[kept] / 0.75)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, kept / 0.75)
    assert torch.equal(module.eval()(x), x)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        Dropout(1.0)


@pytest.mark.parametrize("options", [{"width": 0}, {"graph_dropout": 1.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"must be"):
        make_options(STGCN, "lifter", "st_gcn", options)
