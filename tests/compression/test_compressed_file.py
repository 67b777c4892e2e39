"""The compressed file: exact, small, and safe to read."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest
import torch

from fxp.compression.compressed_file import decode, encode, load_compressed, save_compressed
from fxp.compression.deep_compression import compressed_state
from fxp.store import FileError
from fxp.support.errors import ArgumentError, FxpError


def state() -> dict[str, torch.Tensor]:
    """Tensors of every kind: shared with far zeros, dense, of zeros, small, and of other types."""
    sparse = torch.zeros(4, 200, 1, 1)
    sparse.view(-1)[[0, 1, 300, 555, 799]] = torch.tensor([0.5, -2.0, 0.5, 3.0, -0.0])
    return {
        "sparse": sparse,
        "dense": torch.tensor([1.0, 2.0] * 400).view(20, 40),
        "zeros": torch.zeros(3, 100),
        "bias": torch.randn(7, generator=torch.Generator().manual_seed(0)),
        "count": torch.tensor(5),
        "half": torch.ones(2, dtype=torch.float16),
        "flags": torch.tensor([True, False]),
        "nothing": torch.zeros(0, 3),
    }


def resealed(data: bytes) -> bytes:
    """Give changed bytes the right checksum."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def with_header(change, cut: int = 0) -> bytes:
    """Return a file whose header was changed, without some bytes behind it."""
    data, _ = encode({"w": torch.tensor([0.0, 1.0, 0.0, 2.0] * 50)}, {"key": "text"})
    _, _, length = struct.unpack_from("<8sII", data)
    header = json.loads(zlib.decompress(data[16 : 16 + length]))
    change(header)
    packed = zlib.compress(json.dumps(header).encode())
    start = struct.pack("<8sII", b"fxp-deep", 1, len(packed))
    return resealed(start + packed + data[16 + length + cut :])


def test_tensors_come_back_bit_by_bit(tmp_path):
    sizes = save_compressed(state(), tmp_path / "net.fxpc", metadata={"network": "Nét"})
    tensors, metadata = load_compressed(tmp_path / "net.fxpc")
    assert metadata == {"network": "Nét"}
    assert list(tensors) == list(state())
    for name, expected in state().items():
        assert tensors[name].dtype == expected.dtype
        assert tensors[name].shape == expected.shape
        assert tensors[name].numpy().tobytes() == expected.numpy().tobytes()
    assert sizes.compressed == (tmp_path / "net.fxpc").stat().st_size
    assert sizes.original == 4 * (800 + 800 + 300 + 7) + 8 + 4 + 2
    by_name = {size.name: size for size in sizes.tensors}
    assert (by_name["sparse"].nonzero, by_name["sparse"].codebook) == (4, 4)  # -0.0 is stored too
    assert by_name["zeros"].bytes == 0
    assert by_name["bias"].bytes == 28
    assert by_name["dense"].bytes < 800 / 4  # less than two bits for each weight, and no gaps


def test_deep_compression_of_weights_makes_them_many_times_smaller(tmp_path):
    random = torch.Generator().manual_seed(1)
    weights = {"fc": torch.randn(200, 300, generator=random), "bn": torch.ones(9)}
    small = compressed_state(weights, fraction=0.9, linear_bits=5)
    assert int(torch.count_nonzero(small["fc"])) == 6000
    assert len(small["fc"].unique()) <= 33
    assert torch.equal(small["bn"], weights["bn"])
    sizes = save_compressed(small, tmp_path / "fc.fxpc")
    # 5 bits of code and about as many of gap for a tenth of the weights: 32 bits become one.
    assert sizes.ratio > 28
    assert torch.equal(load_compressed(tmp_path / "fc.fxpc")[0]["fc"], small["fc"])


def test_an_interrupted_call_leaves_both_files_intact(tmp_path, monkeypatch):
    target = tmp_path / "net.fxpc"
    save_compressed(state(), target)
    before = target.read_bytes()

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("fxp.support.files.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_compressed({"other": torch.ones(3)}, target)
    assert target.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["net.fxpc"]


def test_damage_anywhere_is_noticed():
    data, _ = encode(state(), {})
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        with pytest.raises(FileError):
            decode(bytes(damaged))
    for length in range(len(data)):
        with pytest.raises(FileError):
            decode(data[:length])


def test_hostile_files_are_refused_or_read_but_never_crash():
    data, _ = encode(state(), {"a": "b"})
    random = np.random.default_rng(8)
    read = 0
    for _ in range(600):
        changed = bytearray(data)
        for place in random.integers(8, len(data) - 4, random.integers(1, 5)):
            changed[place] = random.integers(256)
        try:
            decode(resealed(bytes(changed)), max_weights=100_000)
            read += 1
        except FileError:
            pass
    assert read < 600


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["tensors"][0].update(shape=[2**20, 2**20]), "holds 1099511627776 weights"),
        (lambda h: h["tensors"][0].update(shape=[2**41]), "shape\\[0\\]: must be an integer"),
        (lambda h: h["tensors"][0].update(shape=[-1]), "must be an integer 0 to"),
        (lambda h: h["tensors"][0].update(shape=[1] * 9), "more than 8 axes"),
        (lambda h: h["tensors"][0].update(shape=[50]), "do not fit shape"),
        (lambda h: h["tensors"][0].update(shape=[198]), "do not lead to 100 of 198 places"),
        (lambda h: h["tensors"][0].update(counts=[2, 99, 100]), "holds more than the 99 bytes"),
        (lambda h: h["tensors"][0].update(counts=[2, 100, 101]), "101 are announced, 100 are"),
        (lambda h: h["tensors"][0].update(counts=[2, 2**30, 2**30]), "do not fit shape"),
        (lambda h: h["tensors"][0].update(counts=[1, 100, 100]), "do not fit shape"),
        (lambda h: h["tensors"][0].update(dtype="float64"), "do not fit shape"),
        (lambda h: h["tensors"][0].update(dtype="object"), "dtype must be one of float16"),
        (lambda h: h["tensors"][0].pop("dtype"), "the key 'dtype' is missing"),
        (lambda h: h["tensors"].append(h["tensors"][0]), "a name appears twice"),
        (lambda h: h.update(tensors={}), "must be an array"),
        (lambda h: h.update(metadata=[1]), "must be an object of texts"),
        (lambda h: h.update(metadata={"a": 1}), "must be a text"),
        (lambda h: h["tensors"].clear(), "0 bytes are announced, the file has"),
    ],
)
def test_rules_of_the_header(change, message):
    with pytest.raises(FileError, match=message):
        decode(with_header(change))


def test_a_code_beyond_the_codebook_is_refused():
    def shorter(header):
        entry = header["tensors"][0]
        entry.update(counts=[1, *entry["counts"][1:]], bytes=[4, *entry["bytes"][1:]])

    with pytest.raises(FileError, match="a code is beyond the 1 values of the codebook"):
        decode(with_header(shorter, cut=4))


def test_other_files_are_told_apart(tmp_path):
    (tmp_path / "no.fxpc").write_bytes(b"something else entirely")
    with pytest.raises(FileError, match=r"no\.fxpc: is no compressed network"):
        load_compressed(tmp_path / "no.fxpc")
    data, _ = encode({"w": torch.ones(2)}, {})
    newer = resealed(data[:8] + struct.pack("<I", 2) + data[12:])
    with pytest.raises(FileError, match="has version 2, this release reads version 1"):
        decode(newer)
    with pytest.raises(FileError, match="holds 2 weights, more than the allowed 1"):
        decode(data, max_weights=1)


def test_a_header_that_inflates_without_end_is_refused():
    bomb = zlib.compress(bytes(2**24 + 1), 9)
    data = struct.pack("<8sII", b"fxp-deep", 1, len(bomb)) + bomb + bytes(4)
    with pytest.raises(FileError, match="header: holds more than the 16777216 bytes"):
        decode(resealed(data))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode({"w": torch.ones(2, dtype=torch.complex64)}, {}), "w: a tensor of torch."),
        (lambda: compressed_state({"b": torch.ones(3)}), "no tensor has the two or four axes"),
        (lambda: compressed_state({"w": torch.ones(3, 3)}, fraction=1.0), "below 1, got 1.0"),
        (lambda: compressed_state({"w": torch.tensor([[1.0, float("nan")]])}), "of w are NaN or"),
        (lambda: compressed_state({"w": torch.zeros(0, 3)}), "no tensor has the two or four axes"),
        (lambda: compressed_state({"w": torch.ones(3, 3)}, linear_bits=0), "1 to 8, got 0"),
    ],
)
def test_errors_of_writing(call, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        call()
    assert isinstance(caught.value, FxpError)
