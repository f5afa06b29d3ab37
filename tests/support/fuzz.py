"""Wrong content of files, made from a valid one, and what every reader must do with it.

A reader is called in this process with a path. Whatever the file holds, it returns, or raises `UserError` whose lines
are one line each and name the file: no other exception, no warning, not more memory and time than it is given.

    @INPUTS
    def test_the_reader_survives(tmp_path, inputs):
        attack(read, tmp_path / "status.json", json_files({"status": "running", "step": 3}), inputs)

50 inputs, always the same, are tried by `make test-all`; 2,000 others each time by `make test-long`.
"""

import copy
import io
import json
import math
import resource
import struct
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semisonic.schema import UserError

FEW, MANY = 50, 2000
INPUTS = pytest.mark.parametrize(
    "inputs", [pytest.param(FEW, marks=pytest.mark.slow), pytest.param(MANY, marks=pytest.mark.long)]
)
"""Decorates a test of a reader, which passes `inputs` on to `attack`."""
FOLDER = "a folder"
"""Content of a file in whose place a folder is."""
MISSING = "nothing"
"""Of one that is not there."""
LONGEST = 1000
"""Characters of a line of an error."""

Content = bytes | str
"""What is put where the file should be: its bytes, or `FOLDER` or `MISSING`."""


class Literal(str):
    """Text that stands in JSON as it is."""


class Twice(dict):
    """An object whose last entry comes twice, with another value the second time."""


LEAVES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e308, math.nan, math.inf, -math.inf,
    Literal("1e400"), Literal("-1e999"), Literal("00"), Literal("nan"), Literal("0x10"), Literal("1:99:99"),
    Literal("2001-99-99"), Literal("!!python/object:os.system"), Literal("*a"), Literal("9" * 5000),
    "", " ", "a", "nan", "1e400", "null", "\0", "\ud800", "\x1b[31m", "\n", "../../../etc/passwd", "/", "=1+1", "~",
    "é" * 300, "x" * 20_000, [], {}, [[]], [None], {"": None}, {"a": {"a": {"a": 1}}}, [0] * 2000,
)  # fmt: skip
"""Values that no field, or hardly any, can have."""


DEPTHS = (60, 70, 900, 100_000)
"""Of lists inside each other."""


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a tree of dicts and lists, its own first."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, value in entries for place in _places(value, (*path, key)))]


def _changed(draw: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with one change at a random place."""
    path = draw(st.sampled_from(_places(tree)))
    if not path:
        return draw(st.sampled_from([tree, [tree], {}, [], *LEAVES]))
    root = tree = copy.deepcopy(tree)
    for key in path[:-1]:
        tree = tree[key]
    key = path[-1]
    how = draw(st.sampled_from(["leaf", "leaf", "leaf", "drop", "wrap", "name", "twice", "more", "random", "deep"]))
    if how == "leaf":
        tree[key] = draw(st.sampled_from(LEAVES))
    elif how == "drop":
        del tree[key]
    elif how == "wrap":
        tree[key] = draw(st.sampled_from([[tree[key]], {"a": tree[key]}, str(tree[key])]))
    elif how == "name" and isinstance(tree, dict):
        tree[draw(st.sampled_from(["", "a.b", "\0", "x" * 3000, "format", "schema", "__class__"]))] = tree.pop(key)
    elif how == "twice" and isinstance(tree, dict) and path[:-1]:
        parent = root
        for step in path[:-2]:
            parent = parent[step]
        parent[path[-2]] = Twice(tree)
    elif how == "more" and isinstance(tree[key], list):
        tree[key] = tree[key] * draw(st.integers(0, 3)) + [draw(st.sampled_from(LEAVES))]
    elif how == "random":
        tree[key] = draw(st.one_of(st.integers(), st.floats(), st.text(max_size=20)))
    else:
        depth = draw(st.sampled_from(DEPTHS))
        tree[key] = Literal("[" * depth + "]" * depth)
    return root


@st.composite
def trees(draw: Any, valid: Any) -> Any:
    """A tree of dicts, lists and leaves like `valid`, with some changes."""
    tree = valid
    for _ in range(draw(st.integers(1, 3))):
        tree = _changed(draw, tree)
    return tree


def as_json(tree: Any) -> str:
    """JSON of a tree, also of what json cannot write: literals, names that come twice, any depth."""
    parts: list[str] = []
    stack: list[Any] = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, _Text):
            parts.append(value)
        elif isinstance(value, Literal):
            parts.append(str(value))
        elif isinstance(value, dict):
            entries = [*value.items(), *([(list(value)[-1], None)] if isinstance(value, Twice) and value else [])]
            stack.append(_Text("}"))
            for number, (key, entry) in reversed(list(enumerate(entries))):
                stack += [entry, _Text(f"{', ' if number else ''}{json.dumps(str(key))}: ")]
            stack.append(_Text("{"))
        elif isinstance(value, list | tuple):
            stack.append(_Text("]"))
            for number, entry in reversed(list(enumerate(value))):
                stack += [entry, _Text(", " if number else "")]
            stack.append(_Text("["))
        else:
            parts.append(json.dumps(value))
    return "".join(parts)


class _Text(str):
    """Punctuation."""


def _encoded(text: str) -> st.SearchStrategy[bytes]:
    """The text as bytes, mostly as it should be."""
    plain = text.encode("utf-8", "surrogatepass")
    return st.one_of(
        st.just(plain), st.just(plain), damaged(plain),
        st.just(b"\xef\xbb\xbf" + plain), st.just(text.encode("utf-16", "surrogatepass")), st.just(plain * 2),
    )  # fmt: skip


def json_files(valid: Any) -> st.SearchStrategy[Content]:
    """Content of a JSON file like a valid one."""
    return st.one_of(*[trees(valid).map(as_json).flatmap(_encoded)] * 6, odd_files(json.dumps(valid).encode()))


def yaml_files(valid: Any) -> st.SearchStrategy[Content]:
    """Content of a YAML file like a valid one, in both of its notations."""
    return st.one_of(
        *[trees(valid).map(as_json).flatmap(_encoded)] * 3,
        *[trees(valid).map(_block_style).flatmap(_encoded)] * 3,
        st.sampled_from(YAML_BOMBS),
        odd_files(yaml.safe_dump(valid).encode()),
    )


def _block_style(tree: Any) -> str:
    try:
        return yaml.safe_dump(json.loads(as_json(tree)), sort_keys=False)
    except (ValueError, RecursionError, yaml.YAMLError):  # what only a text of its own kind can hold
        return as_json(tree)


YAML_BOMBS: tuple[bytes, ...] = (
    b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + b"".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n".encode() for i in range(1, 10)),
    b"a: &a [*a]\n", b"&a {b: *a}\n", b"[" * 10_000, b"a: " + b"[" * 10_000 + b"]" * 10_000, b"- " * 10_000,
    b"{a: " * 5_000, b"? " * 5_000, b"a: 1\na: 2\n", b"<<: 1\n", b"<<: [1, 2]\n", b"a: !!python/object/apply:os.system [ls]\n",
    b"a: !!binary x\n", b"a: !!timestamp x\n", b"a: !!int x\n", b"a: !!float x\n", b"a: !!set {x, y}\n", b"%YAML 9.9\n---\na: 1\n",
    b"a: 1\n---\nb: 2\n", b"? [1]\n: 2\n", b"? {a: 1}\n: 2\n", b"1: 2\n", b"null: 2\n", b"a: 0x\n", b"a: 0b_\n", b"a: 1:60:99\n",
    b"a: .inf\n", b"a: 2001-99-99\n", b"a: 2001-01-01T99:99:99Z\n", b"\tx", b"@", b"`", b"---", b"...", b"a: 'x", b"\x85", b"a: \"\\ud800\"\n",
)  # fmt: skip
"""Texts that are small and cost much, or mean what no file of fields may."""


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """Bytes like a valid file's, changed without regard to what they mean."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        size = len(data)
        at = draw(st.one_of(st.integers(0, min(size, 256)), st.integers(0, size)))
        how = draw(st.sampled_from(["cut", "flip", "insert", "delete", "zeros", "number", "repeat", "tail"]))
        if how == "cut":
            del data[at:]
        elif how == "flip" and at < size:
            data[at] ^= draw(st.integers(1, 255))
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif how == "delete":
            del data[at : at + draw(st.integers(1, 64))]
        elif how == "zeros":
            count = min(draw(st.integers(1, 64)), size - at)
            data[at : at + count] = bytes(count)
        elif how == "number":
            number = draw(st.sampled_from([0, 1, 2**31, 2**32, 2**40, 2**60, 2**63, 2**64 - 1]))
            data[at : at + 8] = struct.pack("<Q", number)
        elif how == "repeat":
            data[at:at] = data[at : at + 200] * draw(st.integers(1, 3))
        else:
            data += draw(st.binary(min_size=1, max_size=64))
    return bytes(data)


def odd_files(content: bytes = b"") -> st.SearchStrategy[Content]:
    """What can be in the place of any file: nothing, a folder, other bytes, a damaged one."""
    fixed = [b"", b"\n", b"\0" * 64, b"\xff\xfe", b"\xef\xbb\xbf", b"null", b"[]", b"{}", b"NaN", FOLDER, MISSING]
    return st.one_of(st.sampled_from(fixed), st.binary(max_size=200), *[damaged(content)] * 3 if content else [])


# Binary files of arrays.


def npy(array: np.ndarray, **header: Any) -> bytes:
    """The bytes of an .npy; `header` replaces entries of its header (descr, fortran_order, shape)."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    if not header:
        return file.getvalue()
    entries = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **header}
    text = repr(entries).encode() + b"\n"
    body = np.ascontiguousarray(array).tobytes()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


ARRAYS: tuple[bytes, ...] = (
    npy(np.zeros(0)), npy(np.array(3)), npy(np.arange(3)), npy(np.array([-1, 2**62])), npy(np.array([np.nan, np.inf])),
    npy(np.zeros((2, 2))), npy(np.array(["a", "b"])), npy(np.array([b"\0"])), npy(np.array([{}], dtype=object)),
    npy(np.zeros(2, "M8[s]")), npy(np.zeros(2, [("a", int)])), npy(np.zeros(2, complex)),
    npy(np.zeros(2), shape=(10**12,)), npy(np.zeros(2), shape=(-1,)), npy(np.zeros(2), shape=(2**62, 2**62)),
    npy(np.zeros(2), shape="x"), npy(np.zeros(2), descr="|O"), npy(np.zeros(2), descr="<f99"),
    npy(np.zeros(2), shape=(10**12, 0)), npy(np.array(3), descr="<U1000000000", shape=()), b"\x93NUMPY", b"",
)  # fmt: skip
"""Arrays, as the bytes of .npy files, that no reader expects."""


def npz(members: Mapping[str, bytes], twice: Sequence[str] = ()) -> bytes:
    """An .npz of members by name, as the bytes of .npy files; those of `twice` are in it twice."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for name in [*members, *twice]:
            archive.writestr(f"{name}.npy", members[name])
    return file.getvalue()


@st.composite
def npz_files(draw: Any, valid: Mapping[str, np.ndarray]) -> Content:
    """Content of an .npz like a valid one."""
    if draw(st.integers(0, 4)) == 0:
        return draw(odd_files(npz({name: npy(array) for name, array in valid.items()})))
    members = {name: npy(array) for name, array in valid.items()}
    name = draw(st.sampled_from(sorted(members)))
    how = draw(st.sampled_from(["array", "array", "array", "drop", "twice", "bytes", "more", "values"]))
    if how == "array":
        members[name] = draw(st.sampled_from(ARRAYS))
    elif how == "drop":
        del members[name]
    elif how == "bytes":
        members[name] = draw(damaged(members[name]))
    elif how == "more":
        members[draw(st.sampled_from(["x", "../x", ""]))] = members[name]
    elif how == "values":
        members[name] = npy(_other_values(draw, valid[name]))
    return npz(members, [name] if how == "twice" else ())


def npy_files(valid: np.ndarray) -> st.SearchStrategy[Content]:
    """Content of an .npy like a valid one."""
    content = npy(valid)
    return st.one_of(st.sampled_from(ARRAYS), damaged(content), odd_files(content))


def _other_values(draw: Any, array: np.ndarray) -> np.ndarray:
    """The array with other values, or another type or shape."""
    how = draw(st.sampled_from(["type", "value", "longer", "shorter", "flat"]))
    if how == "type":
        return array.astype(draw(st.sampled_from(["<f8", "<U8", "u1"]))) if array.dtype.kind in "iufb" else array[None]
    if how == "value" and array.size and array.dtype.kind in "iuf":
        other = array.copy()
        other.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from([0, 1, 100]))
        return -other if array.dtype.kind == "i" else other
    if how == "longer" and array.ndim:
        return np.concatenate([array, array])
    return array.reshape(-1)[: array.size // 2] if how == "shorter" else array.reshape(-1)


# The attack.


def attack(
    reader: Callable[[Path], object],
    path: Path,
    contents: st.SearchStrategy[Content],
    inputs: int,
    megabytes: float = 256,
    seconds: float = 5,
    named: str | None = None,
) -> None:
    """Has a reader read `inputs` contents at `path`. Raises what the reader must not raise.

    megabytes: how far the process's peak memory may grow in all. seconds: the longest that one may take. named: what
    every error names; by default the file's name.
    """
    before = _peak_megabytes()

    @settings(
        max_examples=inputs, database=None, deadline=None, derandomize=inputs <= FEW,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(contents)
    def one(content: Content) -> None:
        place(path, content)
        begin = time.process_time()  # others may have the machine's time
        check_refusal(lambda: reader(path), path.name if named is None else named)
        assert time.process_time() - begin < seconds, f"took {time.process_time() - begin:.1f} s"

    one()
    assert _peak_megabytes() - before < megabytes, f"took {_peak_megabytes() - before:.0f} MB"


def place(path: Path, content: Content) -> None:
    """Puts content where a file should be, in the place of what was there."""
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    if content == FOLDER:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)


def check_refusal(read: Callable[[], object], named: str) -> UserError | None:
    """Calls a reader: it returns, or raises a `UserError` as it should be, which is returned."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read()
        except UserError as error:
            assert error.messages, "an error without a line"
            for line in error.messages:
                assert line and line.isprintable(), f"not one printable line: {line!r}"
                assert len(line) <= LONGEST, f"a line of {len(line)} characters"
                assert "Traceback" not in line and "weights_only" not in line, line
            assert any(named in line for line in error.messages), f"{named} is not named: {error.messages}"
            return error
    return None


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
