from dataclasses import fields, replace

import pytest
import torch

from dg.datasets.base import PoseDataset
from dg.datasets.protocols import BENCHMARKS, Protocol
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_16
from tests.compare.make_results import benchmark_id
from tests.conftest import make_camera, make_joints


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_id_is_read_back_as_the_benchmark_it_names(name):
    assert Protocol.parse(benchmark_id(name, "images")) == BENCHMARKS[name].protocol("images")


def test_data_sets_write_what_the_parser_reads():
    poses = PoseBatch.from_joints(make_joints(4, 16)[:, None], make_camera(4), H36M_16)
    row = torch.zeros(4, dtype=torch.long)
    made = PoseDataset("3DHP-2929", poses, row, row, row, ("a",), ("b",), 25.0, "x", "univ_annot3", flip_tta=True)
    assert Protocol.parse(made.protocol("none")) == replace(BENCHMARKS["3DHP-2929"].protocol("none"), frames=4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dataset": "3DPW"}, "data set 3DHP against 3DPW"),
        ({"flavour": "annot3"}, "ground truth univ_annot3 against annot3"),
        ({"frames": 2875}, "frames 2,929 against 2,875"),
        ({"joints": "h36m_17"}, "joints h36m_16 against h36m_17"),
        ({"source_2d": "hrnet"}, "2D gt against hrnet"),
        ({"depth": "images"}, "depth none against images"),
        ({"tta": "none"}, "TTA flip against none"),
    ],
)
def test_each_part_that_differs_is_named_with_both_values(change, reason):
    ours = BENCHMARKS["3DHP-2929"].protocol("none")
    assert ours.differences(ours) == []
    assert ours.differences(replace(ours, **change)) == [reason]


@pytest.mark.parametrize("name", [f.name for f in fields(Protocol)])
def test_what_is_not_stated_agrees_with_nothing_not_even_itself(name):
    ours = BENCHMARKS["3DPW-PB"].protocol("none")
    silent = replace(ours, **{name: None})
    for pair in ((ours, silent), (silent, ours), (silent, silent)):
        (reason,) = pair[0].differences(pair[1])
        assert reason.startswith("not stated: ")
    assert len(silent.unknown()) == 1
    assert ours.differences(silent, leave_out=(name,)) == []


def test_an_id_of_another_form_states_less_and_never_fails():
    assert Protocol.parse("near") == Protocol(dataset="near")
    assert Protocol.parse("near/x/n5") == Protocol("near", "x", 5)
    assert Protocol.parse("a/tta=flip/odd=1/n3x").tta == "flip"
    assert Protocol.parse("").differences(Protocol.parse(""))


def test_no_two_benchmarks_may_share_a_column():
    made = [b.protocol("none") for b in BENCHMARKS.values()]
    assert all(a.differences(b) for a in made for b in made if a is not b)
