import pytest
import torch

from dg.pose.devices import add_in_one_order, full_precision, indexed, pick, seed_global_stream, set_tf32


@pytest.fixture(autouse=True)
def _as_before():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_cuda_gets_the_number_of_the_current_device_and_others_stay(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert indexed("cuda") == torch.device("cuda", 3)
    assert indexed(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert indexed("cpu") == torch.device("cpu")


def _fail_in_full_precision():
    with full_precision():
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
        raise ZeroDivisionError


def test_full_precision_holds_inside_and_the_process_setting_outside():
    set_tf32(True)
    with pytest.raises(ZeroDivisionError):
        _fail_in_full_precision()
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    set_tf32(False)
    with full_precision():
        pass
    assert not torch.backends.cudnn.allow_tf32


def test_the_global_stream_is_seeded_as_torch_does_it():
    torch.manual_seed(12345)
    expected = torch.rand(4), torch.randn(2)
    seed_global_stream(12345)
    assert torch.equal(torch.rand(4), expected[0])
    assert torch.equal(torch.randn(2), expected[1])


def _gradients(picked, times):
    """Gradients of 16 entries of 2,048 rows that are picked 4 times each, by two threads."""
    index = torch.arange(16).repeat(4)
    values = torch.randn(2048, 16, 3, requires_grad=True)
    given = torch.randn(2048, 64, 3)
    torch.set_num_threads(2)
    return [torch.autograd.grad(picked(values, index), values, given)[0] for _ in range(times)], given


def test_what_is_picked_several_times_gets_its_gradients_in_one_order():
    (first, *others), given = _gradients(lambda values, index: pick(values, index, -2), 20)
    assert all(torch.equal(first, other) for other in others)
    torch.testing.assert_close(first, given.unflatten(1, (4, 16)).sum(1))


def test_sums_behind_an_index_have_one_order_once_that_is_asked_for():
    add_in_one_order()
    try:
        (first, *others), given = _gradients(lambda values, index: values[:, index], 20)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first, other) for other in others)
    torch.testing.assert_close(first, given.unflatten(1, (4, 16)).sum(1))


@pytest.mark.parametrize("dim", [-1, -2, -3])
def test_picking_is_indexing_on_every_device(dim):
    values, index = torch.randn(4, 5, 6), torch.tensor([3, 0, 0, 2])
    assert torch.equal(pick(values, index, dim), values.movedim(dim, 0)[index].movedim(0, dim))
    elsewhere = pick(values.to("meta"), index.to("meta"), dim)
    assert elsewhere.shape == pick(values, index, dim).shape
