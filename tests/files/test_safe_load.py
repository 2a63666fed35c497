"""Reading untrusted archives: what is allowed comes back unchanged, and nothing else runs."""

import collections
import pickle
import struct

import numpy as np
import pytest

from dg.files.safe_load import FileFormatError, UnsafeFileError, load_npz, load_pickle


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def write(path, data: bytes):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_survive_every_pickle_protocol(tmp_path, protocol):
    value = {
        "floats": np.arange(12, dtype=np.float32).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big_endian": np.arange(3, dtype=">i4"),
        "text": np.array(["a", "bc"]),
        "objects": np.array([{"x": 1}, None, "y"], dtype=object),
        "scalar": np.float64(2.5),
        "ordered": collections.OrderedDict(a=[1, 2.0, (3, "x")]),
        "bytes": b"\x00\xff",
        "set": {1, 2},
    }
    loaded = load_pickle(write(tmp_path / "a.pkl", pickle.dumps(value, protocol)))
    assert list(loaded) == list(value)
    np.testing.assert_equal(loaded, value)
    assert loaded["floats"].dtype == np.float32


def test_a_python_2_pickle_of_an_array_is_read(tmp_path):
    raw = struct.pack("<2d", 1.5, -2.0)
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\n"
        b"U\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10" + raw + b"tb."
    )
    np.testing.assert_array_equal(load_pickle(write(tmp_path / "old.pkl", data)), [1.5, -2.0])


def test_an_archive_reads_as_numpy_reads_it(tmp_path):
    arrays = {"a": np.random.default_rng(0).normal(size=(3, 2)), "names": np.array(["x", "yy"]), "n": np.array(3)}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    for name in ("plain.npz", "small.npz"):
        np.testing.assert_equal(load_npz(tmp_path / name), arrays)


def test_object_arrays_are_read_only_where_they_are_expected(tmp_path):
    np.savez(tmp_path / "o.npz", motion=np.array({"S1": {"Walk": np.ones((2, 3))}}, dtype=object))
    np.testing.assert_equal(load_npz(tmp_path / "o.npz", ["motion"])["motion"].item()["S1"]["Walk"], np.ones((2, 3)))
    with pytest.raises(UnsafeFileError, match="motion"):
        load_npz(tmp_path / "o.npz")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "wanted"),
    [(open, "open"), (exec, "exec"), (getattr, "getattr"), (np.load, "load"), (np.fromfile, "fromfile")],
)
def test_a_hostile_pickle_runs_nothing_and_is_named(tmp_path, protocol, function, wanted):
    marker = tmp_path / "marker"
    args = {"open": (str(marker), "w"), "exec": (f"open({str(marker)!r}, 'w')",)}.get(wanted, (str(marker), "x"))
    data = pickle.dumps({"x": Calls(function, *args)}, protocol)
    with pytest.raises(UnsafeFileError, match=wanted) as caught:
        load_pickle(write(tmp_path / "evil.pkl", data))
    assert "evil.pkl" in str(caught.value)
    assert not marker.exists()


def test_a_hostile_object_array_runs_nothing(tmp_path):
    marker = tmp_path / "marker"
    np.savez(tmp_path / "evil.npz", positions_3d=np.array(Calls(open, str(marker), "w"), dtype=object))
    with pytest.raises(UnsafeFileError, match="open"):
        load_npz(tmp_path / "evil.npz", ["positions_3d"])
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", [b"builtins\nlist.append", b"numpy\nndarray.tofile", b"os\nsystem", b"copyreg\n__newobj_ex__"]
)
def test_names_outside_the_list_are_refused_however_they_are_spelled(tmp_path, name):
    with pytest.raises(UnsafeFileError, match="asks for"):
        load_pickle(write(tmp_path / "a.pkl", b"\x80\x02c" + name + b"\n."))


class ForgedState(np.ndarray):
    """An array whose pickled state claims another shape than it has items."""

    def __reduce__(self):
        build, args, _ = super().__reduce__()
        return build, (np.ndarray, *args[1:]), (1, (1000,), np.dtype("O"), False, [None])


class ForgedDtype:
    def __reduce__(self):
        return np.dtype, ("f8", False, True), (3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)


@pytest.mark.parametrize("forged", [np.zeros(1).view(ForgedState), ForgedDtype()])
def test_forged_array_states_are_refused(tmp_path, forged):
    with pytest.raises(UnsafeFileError, match="forges"):
        load_pickle(write(tmp_path / "a.pkl", pickle.dumps(forged)))


def test_the_loaders_own_functions_cannot_be_changed_by_a_pickle(tmp_path):
    data = b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb."
    with pytest.raises(UnsafeFileError, match="changes"):
        load_pickle(write(tmp_path / "a.pkl", data))


class Holder:
    """What a caller lets stand in for a foreign class."""

    def __setstate__(self, state):
        self.state = state


@pytest.mark.parametrize(
    "make", [b"cchumpy.ch\nCh\n)\x81", b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR"]
)
def test_a_foreign_class_becomes_the_callers_stand_in(tmp_path, make):
    path = write(tmp_path / "a.pkl", b"\x80\x02" + make + b"}X\x01\x00\x00\x00xK\x07sb.")
    assert load_pickle(path, {"chumpy.ch.Ch": Holder}).state == {"x": 7}
    with pytest.raises(UnsafeFileError, match=r"chumpy\.ch\.Ch"):
        load_pickle(path)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("missing", None, "no such file"),
        ("empty", b"", "empty"),
        ("text", b"hello, this is not it", "of another kind"),
        ("page", b"<html>404</html>" * 100, "of another kind"),
    ],
)
@pytest.mark.parametrize("load", [load_npz, load_pickle])
def test_a_file_of_another_kind_is_named_with_its_fault(tmp_path, load, name, data, reason):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(FileFormatError, match=reason) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("load", [load_npz, load_pickle])
def test_a_directory_is_no_file(tmp_path, load):
    with pytest.raises(FileFormatError, match="directory"):
        load(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path, share):
    np.savez_compressed(tmp_path / "whole.npz", a=np.random.default_rng(0).normal(size=1000))
    pickled = pickle.dumps({"a": np.arange(1000.0), "b": ["x"] * 100})
    for load, data in ((load_npz, (tmp_path / "whole.npz").read_bytes()), (load_pickle, pickled)):
        with pytest.raises(FileFormatError):
            load(write(tmp_path / "cut", data[: int(share * len(data))]))


def test_flipped_bits_never_raise_anything_but_a_file_error(tmp_path):
    np.savez(tmp_path / "whole.npz", m=np.array({"S1": np.ones((2, 3)), "t": ("x", 1.5)}, dtype=object), a=np.arange(5))
    data = (tmp_path / "whole.npz").read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for position in rng.integers(0, len(data), 300):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        try:
            load_npz(write(tmp_path / "damaged.npz", bytes(damaged)), ["m"])
        except FileFormatError:
            refused += 1
    assert refused > 100
