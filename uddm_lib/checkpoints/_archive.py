"""Files of :func:`torch.save`, read without executing anything they contain.

Such a file is a zip archive: one pickle that describes everything, and one record of raw numbers
per storage. Unpickling usually imports and calls whatever the pickle names. Here nothing that it
names is real: each class or function, even one that rebuilds tensors, becomes an inert
:class:`Stub` that only keeps its arguments. Tensors are then looked up in that tree, checked, and
copied one by one from a memory-mapped record; everything else stays on the disk.

``torch.load(weights_only=True)`` is no substitute. It refuses the subclasses of dict and list that
Lightning files hold (a defaultdict in the stored configuration, for one), and it really calls
whatever the program allowed with ``torch.serialization.add_safe_globals``.
"""

import io
import math
import mmap
import pickle
import pickletools
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import torch
from jaxtyping import Float
from torch import Tensor

from uddm_lib.checkpoints._files import some

_DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.DoubleStorage": torch.float64,
}


# the pickle ----------------------------------------------------------------------


class Stub:
    """Stands for every class, function and object in a file; keeps arguments, state and items.

    A pickle can create it, call it, set its state and add to it; none of this does anything else.
    """

    __slots__ = ("arguments", "items", "state")
    source = ""  # the name in the file, set in a subclass of its own

    arguments: tuple
    items: list[tuple[object, object]]
    state: object

    def __new__(cls, *arguments: object, **_: object) -> "Stub":
        stub = object.__new__(cls)
        stub.arguments, stub.state, stub.items = arguments, None, []
        return stub

    def __call__(self, *_: object, **__: object) -> "Stub":
        return Stub()

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        self.items.append((key, value))

    def append(self, _: object) -> None:
        """Drop items of lists and sets, which nothing here uses."""

    extend = add = append


class _Unpickler(pickle.Unpickler):
    """An unpickler that looks nothing up: names give stubs, references to records stay."""

    def find_class(self, module: str, name: str) -> type[Stub]:
        # A class for every name and file: no one else sees what a pickle may change on it.
        return type("Stub", (Stub,), {"__slots__": (), "source": f"{module}.{name}"})

    def persistent_load(self, pid: object) -> object:
        return pid


def _unpickle(data: bytes) -> object:
    try:
        # Two instructions would get past the unpickler: one fills a cache that all unpicklers
        # share, one can ask for gigabytes by a large memo index (picklers count from zero).
        for count, (instruction, argument, _) in enumerate(pickletools.genops(data)):
            large = instruction.name.endswith("PUT") and (argument or 0) > count
            if instruction.name.startswith("EXT") or large:
                raise ValueError(f"the instruction {instruction.name} {argument} has no place here")
        return _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # of any type, by a malformed pickle; only Stub's code ran
        raise ValueError(
            "its pickle is damaged or not a checkpoint's: "
            f"{type(error).__name__}: {some([str(error)])}"
        ) from None


def mapping(node: object) -> dict[str, object]:
    """The text keys of a dictionary, or of a stub that stands for one; empty for anything else."""
    if isinstance(node, Stub):
        node = {key: value for key, value in node.items if isinstance(key, str)} or node.state
    if type(node) is not dict:
        return {}
    return {name: value for name, value in node.items() if isinstance(name, str)}


# tensors -------------------------------------------------------------------------


@dataclass
class StoredTensor:
    """Where a tensor's numbers are: its record in the archive, and how they are laid out there."""

    name: str
    record: str
    dtype: torch.dtype
    count: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def describe(name: str, node: object) -> StoredTensor:
    """The tensor that a stub in the tree stands for.

    Args:
        name: for messages.
        node: a node of the tree.

    Raises:
        ValueError: if it is another thing, or a layout that reaches beyond its record or uses a
            number twice.
    """
    name = some([name])
    storage, record, count, offset, shape, strides = _rebuild_arguments(name, node)
    if storage.source not in _DTYPES:
        raise ValueError(
            f"{name} is stored as {some([storage.source])}, not as floating-point numbers"
        )
    tensor = StoredTensor(name, record, _DTYPES[storage.source], count, offset, shape, strides)
    _check_layout(tensor)
    return tensor


def _rebuild_arguments(
    name: str, node: object
) -> tuple[type[Stub], str, int, int, tuple[int, ...], tuple[int, ...]]:
    """What torch's function that rebuilds a tensor is given, if it is of the right types."""
    if isinstance(node, Stub) and node.source == "torch._utils._rebuild_parameter":
        node = node.arguments[0] if node.arguments else None
    if isinstance(node, Stub) and node.source == "torch._utils._rebuild_tensor_v2":
        match node.arguments[:4]:
            case (
                ("storage", type() as storage, str() as record, _, count),  # _: its device
                offset,
                tuple() as shape,
                tuple() as strides,
            ) if (
                issubclass(storage, Stub)
                and len(shape) == len(strides)
                and all(type(n) is int and n >= 0 for n in (count, offset, *shape, *strides))
            ):
                return storage, record, count, offset, shape, strides
    raise ValueError(f"{name} is not a plain tensor")


def _check_layout(tensor: StoredTensor) -> None:
    """Refuse a layout that reaches beyond its record or uses a number twice."""
    shape, count = tensor.shape, tensor.count
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(shape, tensor.strides))
    if not all(shape) or math.prod(shape) > count or last >= count:
        raise ValueError(
            f"{tensor.name} of shape {shape} does not fit its storage of {count} numbers"
        )


# the archive ---------------------------------------------------------------------


class Archive:
    """The records of an open file, each memory-mapped while it is read and let go after.

    Raises:
        ValueError: here and in the methods, saying what is wrong with the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size = file, file.seek(0, io.SEEK_END)
        self.intact: set[str] = set()
        if not self.size:
            raise ValueError("the file is empty")
        file.seek(0)
        zipped = file.read(4) == b"PK\x03\x04"
        try:
            self.records = {record.filename: record for record in zipfile.ZipFile(file).infolist()}
        except (
            zipfile.BadZipFile,
            ValueError,
            NotImplementedError,
            struct.error,
            OverflowError,
            OSError,
        ) as error:
            raise ValueError(
                f"truncated or damaged: {error}"
                if zipped
                else "not a checkpoint, which is a zip archive (torch 1.6 or newer)"
            ) from None
        pickles = [name for name in self.records if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError(f"not a checkpoint: a zip archive with {len(pickles)} files data.pkl")
        self.folder = pickles[0].removesuffix("data.pkl")

    def tree(self) -> object:
        """The content of the pickle, with stubs in it."""
        byte_order = self.folder + "byteorder"
        if byte_order in self.records and bytes(self._map(byte_order)) != sys.byteorder.encode():
            raise ValueError(f"its numbers are not {sys.byteorder}-endian, as this machine's are")
        return _unpickle(bytes(self._map(self.folder + "data.pkl")))

    def read(self, tensor: StoredTensor, device: torch.device | str) -> Float[Tensor, "..."]:
        """A copy of a described tensor, in float32 on ``device``."""
        data = self._map(f"{self.folder}data/{tensor.record}")
        size = tensor.count * tensor.dtype.itemsize
        if len(data) < size:
            raise ValueError(f"{tensor.name}: {len(data)} bytes are there, expected {size}")
        numbers = torch.frombuffer(data, dtype=tensor.dtype, count=tensor.count)
        numbers = numbers.as_strided(tensor.shape, tensor.strides, tensor.offset)
        return numbers.to(device, torch.float32, copy=True).contiguous()

    def _map(self, name: str) -> memoryview:
        """The bytes of a record, memory-mapped for as long as something refers to them."""
        if name not in self.records:
            raise ValueError(f"the record {some([name])} is missing")
        record = self.records[name]
        self.file.seek(max(record.header_offset, 0))
        header = self.file.read(30)
        if (
            len(header) < 30
            or header[:4] != b"PK\x03\x04"
            or record.compress_type != zipfile.ZIP_STORED
            or record.flag_bits & 1
        ):
            raise ValueError(f"the record {some([name])} is damaged or compressed")
        start = self.file.tell() + sum(struct.unpack("<HH", header[26:]))
        if start + record.file_size > self.size:
            raise ValueError(f"truncated: the record {some([name])} ends after the file")
        skip = start % mmap.ALLOCATIONGRANULARITY
        # A private mapping: torch wants writable memory, yet nothing would reach the file.
        whole = mmap.mmap(
            self.file.fileno(),
            skip + record.file_size,
            access=mmap.ACCESS_COPY,
            offset=start - skip,
        )
        data = memoryview(whole)[skip : skip + record.file_size]
        if name not in self.intact and zlib.crc32(data) != record.CRC:
            raise ValueError(f"damaged: the record {some([name])} does not match its checksum")
        self.intact.add(name)
        return data
