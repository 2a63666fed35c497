import pytest
import torch

from dg.pose.devices import full_precision, indexed, seed_global_stream, set_tf32


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
