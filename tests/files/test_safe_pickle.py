"""A pickle may be anything: it is refused or gives plain values, and the process that reads it lives on."""

import collections
import itertools
import pickle
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dg.files.errors import FileFormatError, UnsafeFileError
from dg.files.pickle_builders import ALLOWED
from dg.files.safe_pickle import MAX_OBJECT_ARRAYS, unpickle
from tests.files.pickle_reader import FOREIGN, PickleReader, answer, looked_at

PROTO = b"\x80\x02"
SAMPLES = [
    {"floats": np.arange(6, dtype=np.float32).reshape(2, 3), "n": 3, "t": ("x", 1.5, None, True)},
    {"objects": np.array([{"S1": np.ones((2, 3))}, None, "y"], dtype=object), "empty": np.zeros((0, 3))},
    [np.float64(2.5), np.array(["a", "bc"]), np.arange(3, dtype=">i4"), np.array(7), b"\x00\xff", bytearray(b"ab")],
    collections.OrderedDict(a={1, 2}, b=frozenset({"x", (1, 2)}), c=complex(1, 2), d=range(3), e=slice(None, 2)),
]
PICKLES = [pickle.dumps(sample, protocol) for sample in SAMPLES for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]


@pytest.fixture(scope="module")
def reader():
    process = PickleReader()
    yield process
    process.close()


def glob(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return b"c" + f"{module}\n{attribute}\n".encode()


def arguments(value) -> bytes:
    """The opcodes that put a value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


NDARRAY, DTYPE = glob("numpy.ndarray"), glob("numpy.dtype")
FRESH_ARRAY = glob("numpy.core.multiarray._reconstruct") + b"(" + NDARRAY + arguments((0,)) + arguments("b") + b"tR"
OBJECT_DTYPE = DTYPE + arguments(("O8", False, True)) + b"R"
FLOAT_DTYPE = DTYPE + arguments(("f8", False, True)) + b"R"
# What each allowed name is called with: what numpy would turn into memory of somebody else, and what fits.
HOSTILE = [
    arguments(()),
    arguments(((), "O", bytearray(8))),
    arguments(((4,), "f8")),
    arguments(((1 << 40,),)),
    arguments((1 << 62,)),
    arguments(("O", False, True)),
    arguments((("f8", (1 << 40,)),)),
    arguments(([("a", "O"), ("b", "f8")],)),
    arguments((-1, -5)),
    arguments(([[1, 2]] * 3,)),
    arguments(("x", "utf-16")),
    b"(" + NDARRAY + arguments((0,)) + arguments("b") + b"t",
    b"(" + OBJECT_DTYPE + arguments(b"\x01" * 8) + b"t",
    b"(" + FLOAT_DTYPE + arguments(b"\x01") + b"t",
    b"(" + arguments(b"\x01" * 8) + OBJECT_DTYPE + arguments((1,)) + arguments("C") + b"t",
    b"(" + FRESH_ARRAY + FLOAT_DTYPE + arguments((1,)) + arguments("C") + b"t",
    b"(" + NDARRAY + glob("builtins.object") + b"Nt",
]
STATES = [
    b"N", arguments(()), arguments({}), arguments({"__class__": 1}), arguments((None, {"__class__": 1})),
    b"(K\x01" + arguments((-1, -8)) + FLOAT_DTYPE + b"\x89" + arguments(b"\x00" * 64) + b"t",
    b"(K\x01" + arguments((1,)) + OBJECT_DTYPE + b"\x89" + arguments(b"\x01" * 8) + b"t",
    b"(K\x01" + arguments((1000,)) + OBJECT_DTYPE + b"\x89" + arguments([None]) + b"t",
    b"(K\x01" + arguments((1000,)) + FLOAT_DTYPE + b"\x89" + arguments(b"\x01" * 8) + b"t",
    arguments((3, "<", None, ("a",), {"a": ("O", 0)}, 8, 1, 0)),
    arguments((3, "|", None, None, None, 1 << 30, 8, 63)),
]  # fmt: skip
NAMES = [*sorted(ALLOWED), *FOREIGN]


def calls(name: str) -> list[tuple[str, bytes]]:
    """Every way in which a pickle can use a name, with every hostile argument."""
    found = [("as it is", glob(name))]
    for args in HOSTILE:
        found += [
            ("REDUCE", glob(name) + args + b"R"),
            ("NEWOBJ", glob(name) + args + b"\x81"),
            ("NEWOBJ_EX", glob(name) + args + b"}\x92"),
            ("NEWOBJ_EX with keywords", glob(name) + args + arguments({"order": "F"}) + b"\x92"),
            ("OBJ", b"(" + glob(name) + args + b"o"),
            ("INST", b"(" + args + b"i" + glob(name)[1:]),
        ]
    for state in STATES:
        found += [("BUILD", glob(name) + state + b"b")]
        found += [("BUILD of what it makes", glob(name) + args + b"R" + state + b"b") for args in HOSTILE]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_allowed_name_survives_every_way_of_using_it(reader, name):
    for how, body in calls(name):
        said = reader.load(PROTO + body + b".")
        assert said == "refused" or said.startswith("loaded"), (how, said, body)


@pytest.mark.parametrize("opcode", [b"R", b"\x81", b"}\x92"])
@pytest.mark.parametrize("args", [((), "O", bytearray(8)), ((4,), "f8"), ()])
def test_numpy_ndarray_is_no_callable(opcode, args):
    with pytest.raises(UnsafeFileError, match=r"numpy\.ndarray"):
        unpickle(PROTO + NDARRAY + arguments(args) + opcode + b".", "it")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_itself_cannot_be_changed(name):
    with pytest.raises(UnsafeFileError):
        unpickle(PROTO + glob(name) + arguments({"call": 1}) + b"b.", "it")


BUFFER_OF_ARRAY = FRESH_ARRAY + b"q\x01(" + FLOAT_DTYPE + arguments((1,)) + arguments("C") + b"t"


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("an array's state set twice", FRESH_ARRAY + 2 * (b"(K\x01" + arguments((0,)) + FLOAT_DTYPE + b"\x89C\x00tb")),
        ("a view of an array", FRESH_ARRAY + b"\x98"),
        ("items of an array", FRESH_ARRAY + arguments(0) + arguments(1) + b"s"),
        ("append to an array", FRESH_ARRAY + arguments(0) + b"a"),
        ("out-of-band buffer", b"\x97"),
        ("a registered extension", b"\x82\x01"),
        ("a persistent name", b"Px\n"),
        ("a byte array that claims a terabyte", b"\x96" + struct.pack("<Q", 1 << 40)),
        ("a list of a huge range", glob("builtins.list") + b"(" + arguments(range(1 << 40)) + b"tR"),
        ("bytes by number", glob("builtins.bytes") + arguments((1 << 36,)) + b"R"),
        ("attributes of an ordered dict", arguments(collections.OrderedDict()) + arguments({"items": 1}) + b"b"),
    ],
)
def test_what_could_free_or_overflow_memory_is_refused(reader, what, body):
    assert reader.load(b"\x80\x05" + body + b".") == "refused", what


def test_depth_does_not_end_the_process(reader):
    """Hashing a tuple, freeing a slice and freeing an array of objects recurse in C."""
    deep = 400_000
    tuples = PROTO + b")" + b"\x85" * deep
    assert reader.load(tuples + b".").startswith("loaded")
    assert reader.load(PROTO + b"}" + tuples[2:] + b"Ns.") == "refused"
    assert reader.load(PROTO + glob("builtins.frozenset") + b"(]" + tuples[2:] + b"atR.") == "refused"
    slices = b"N" + b"".join(b"q\x02" + glob("builtins.slice") + b"h\x02\x85R" for _ in range(2))
    assert reader.load(PROTO + slices + b".") == "refused"
    one = b"(K\x01" + arguments((1,)) + OBJECT_DTYPE + b"\x89]"
    count = 3 * MAX_OBJECT_ARRAYS
    chain = (FRESH_ARRAY + one) * count + b"N" + b"atb" * count
    assert reader.load(PROTO + chain + b".") == "refused"


def test_as_many_object_arrays_as_real_files_hold_are_read():
    value = [np.array([{"x": number}], dtype=object) for number in range(MAX_OBJECT_ARRAYS)]
    np.testing.assert_equal(unpickle(pickle.dumps(value), "it"), value)


def test_an_array_of_negative_lengths_is_refused():
    state = b"(K\x01" + arguments((-1, -8)) + FLOAT_DTYPE + b"\x89" + arguments(b"\x00" * 64) + b"tb"
    with pytest.raises(UnsafeFileError, match="shape"):
        unpickle(PROTO + FRESH_ARRAY + state + b".", "it")


def test_a_class_kept_as_a_value_is_an_inert_marker():
    assert unpickle(pickle.dumps({"kind": float, "a": np.ndarray}), "it") == {
        "kind": ALLOWED["builtins.float"],
        "a": ALLOWED["numpy.ndarray"],
    }


@pytest.mark.parametrize("data", PICKLES)
def test_what_is_allowed_comes_back_unchanged(reader, data):
    assert looked_at(unpickle(data, "it")) == looked_at(pickle.loads(data))
    assert reader.load(data) == answer(data)


# -- fuzzing: refused or a plain value, never a crash

FRAGMENTS = [
    *[glob(name) for name in NAMES], *HOSTILE, *STATES, FRESH_ARRAY, FLOAT_DTYPE, OBJECT_DTYPE,
    *[bytes([code]) for code in b"(0123.NQRabcdeghijloprstu}])"], *[bytes([code]) for code in range(0x81, 0x99)],
    b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"K\x05", b"C\x03abc", b"U\x03abc",
]  # fmt: skip


@st.composite
def mutated(draw) -> bytes:
    """A real pickle with bytes changed, cut, doubled or exchanged for fragments of others."""
    data = bytearray(draw(st.sampled_from(PICKLES)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(["flip", "cut", "fragment", "double", "bytes"]))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at:to]
        elif kind == "fragment":
            data[at:to] = draw(st.sampled_from(FRAGMENTS))
        elif kind == "double":
            data[at:at] = data[at:to]
        else:
            data[at:to] = draw(st.binary(max_size=8))
    return bytes(data)


programs = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=30).map(
    lambda parts: PROTO + b"".join(parts) + b"."
)
fuzzing = {"suppress_health_check": list(HealthCheck), "database": None, "derandomize": True}


def check(reader: PickleReader, data: bytes) -> None:
    said = reader.load(data)
    assert said == "refused" or said.startswith("loaded"), said


@settings(max_examples=150, **fuzzing)
@given(st.one_of(mutated(), programs))
def test_mutated_pickles_are_refused_or_loaded(reader, data):
    check(reader, data)


@pytest.mark.slow
@settings(max_examples=5000, **fuzzing)
@given(mutated())
def test_thousands_of_mutated_pickles_are_refused_or_loaded(reader, data):
    check(reader, data)


@pytest.mark.slow
@settings(max_examples=5000, **fuzzing)
@given(programs)
def test_thousands_of_programs_of_allowed_parts_are_refused_or_loaded(reader, data):
    check(reader, data)


@pytest.mark.slow
def test_every_single_flipped_bit_is_refused_or_loaded(reader):
    for data, position, bit in ((d, p, b) for d in PICKLES[:12] for p, b in itertools.product(range(len(d)), range(8))):
        check(reader, data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :])


def test_the_old_loader_s_hole_is_one_clear_error(tmp_path):
    from dg.files.safe_load import load_npz, load_pickle

    data = PROTO + NDARRAY + arguments(((), "O", bytearray(8))) + b"R."
    (tmp_path / "evil.pkl").write_bytes(data)
    with pytest.raises(FileFormatError, match=r"evil\.pkl.*numpy\.ndarray"):
        load_pickle(tmp_path / "evil.pkl")
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data
    import zipfile

    with zipfile.ZipFile(tmp_path / "evil.npz", "w") as archive:
        archive.writestr("positions_3d.npy", member)
    with pytest.raises(UnsafeFileError, match=r"numpy\.ndarray"):
        load_npz(tmp_path / "evil.npz", ["positions_3d"])
