"""Files of :func:`torch.save`, read without executing anything they contain.

Such a file is a zip archive: one pickle that describes everything, and one record of raw numbers per storage.
Unpickling usually imports and calls whatever the pickle names. Here nothing it names is real: each class or function,
even the ones that rebuild tensors, becomes an inert :class:`Stub` that only notes what it was given. Tensors are
then looked up in that tree, checked, and copied one by one from a memory-mapped record; all else stays on the disk.

``torch.load(weights_only=True)`` is no substitute: it refuses the subclasses of dict and list that Lightning files
hold (a defaultdict in the stored configuration, for one), and what a program allowed there elsewhere it really calls.
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

import torch

_DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.DoubleStorage": torch.float64,
}


# the pickle ----------------------------------------------------------------------


class Stub:
    """What the reader makes of every class, function and object in a file: it notes arguments, state and items.

    A pickle can create it, call it, set its state and add to it; none of this does anything else.
    """

    __slots__ = ("arguments", "items", "state")
    source = None  # the name in the file, set in a subclass of its own

    def __new__(cls, *arguments, **_):
        stub = object.__new__(cls)
        stub.arguments, stub.state, stub.items = arguments, None, []
        return stub

    def __call__(self, *_, **__):
        return Stub()

    def __setstate__(self, state):
        self.state = state

    def __setitem__(self, key, value):
        self.items.append((key, value))

    def append(self, _):
        """Items of lists and sets: of no use here, and so not kept."""

    extend = add = append


class _Unpickler(pickle.Unpickler):
    """An unpickler that looks nothing up: names give stubs, and references to records stay as they are."""

    def find_class(self, module, name):
        # A class for every name and file: what a pickle may manage to change on it, no one else sees.
        return type("Stub", (Stub,), {"__slots__": (), "source": f"{module}.{name}"})

    def persistent_load(self, pid):
        return pid


def _unpickle(data):
    try:
        # Two instructions would get past the unpickler: one fills a cache that all unpicklers share, one can ask for
        # gigabytes by a large memo index (picklers count from zero).
        for count, (instruction, argument, _) in enumerate(pickletools.genops(data)):
            if instruction.name.startswith("EXT") or (
                instruction.name.endswith("PUT") and argument > count
            ):
                raise ValueError(f"the instruction {instruction.name} {argument} has no place here")
        return _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # whatever a malformed pickle leads to; it runs no code but Stub's
        raise ValueError(
            "its pickle is damaged or not a checkpoint's: "
            f"{type(error).__name__}: {some([str(error)])}"
        ) from None


def mapping(node):
    """A dictionary in the tree, or what a stub holds of one, with its text keys only; else an empty one."""
    if isinstance(node, Stub):
        node = dict(pair for pair in node.items if isinstance(pair[0], str)) or node.state
    return (
        {name: value for name, value in node.items() if isinstance(name, str)}
        if type(node) is dict
        else {}
    )


def some(names):
    """The first few of many names from a file, for a message: short, and without control characters."""
    names = list(names)
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(ascii(name[:90])[1:-1] for name in names[:4]) + more


# tensors -------------------------------------------------------------------------


@dataclass
class Tensor:
    """Where a tensor's numbers are: its record in the archive, and how they are laid out there."""

    name: str
    record: str
    dtype: torch.dtype
    count: int
    offset: int
    shape: tuple
    strides: tuple


def describe(name, node):
    """The :class:`Tensor` that a stub in the tree stands for; ``name`` is for messages.

    Raises:
        ValueError: if it is another thing, or a layout that reaches beyond its record or uses a number twice.
    """
    if (
        isinstance(node, Stub)
        and node.source == "torch._utils._rebuild_parameter"
        and node.arguments
    ):
        node = node.arguments[0]
    name = some([name])
    try:
        if node.source != "torch._utils._rebuild_tensor_v2":
            raise TypeError
        (kind, storage, record, _, count), offset, shape, strides = node.arguments[
            :4
        ]  # _: the device it was on
        if kind != "storage" or not issubclass(storage, Stub) or type(record) is not str:
            raise TypeError
        if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
            raise TypeError
        if any(type(size) is not int or size < 0 for size in (count, offset, *shape, *strides)):
            raise TypeError
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"{name} is not a plain tensor") from None
    if storage.source not in _DTYPES:
        raise ValueError(
            f"{name} is stored as {some([storage.source])}, not as floating-point numbers"
        )
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if not all(shape) or math.prod(shape) > count or last >= count:
        raise ValueError(f"{name} of shape {shape} does not fit its storage of {count} numbers")
    return Tensor(name, record, _DTYPES[storage.source], count, offset, shape, strides)


# the archive ---------------------------------------------------------------------


class Archive:
    """The records of an open file, each memory-mapped while it is read and let go after.

    Raises:
        ValueError: here and in the methods, saying what is wrong with the file.
    """

    def __init__(self, file):
        self.file, self.size, self.intact = file, file.seek(0, io.SEEK_END), set()
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

    def tree(self):
        """The content of the pickle, with stubs in it."""
        order = self.folder + "byteorder"
        if order in self.records and bytes(self._map(order)) != sys.byteorder.encode():
            raise ValueError(f"its numbers are not {sys.byteorder}-endian, as this machine's are")
        return _unpickle(bytes(self._map(self.folder + "data.pkl")))

    def read(self, tensor, device):
        """A copy of a described tensor, in float32 on ``device``."""
        data, size = (
            self._map(f"{self.folder}data/{tensor.record}"),
            tensor.count * tensor.dtype.itemsize,
        )
        if len(data) < size:
            raise ValueError(f"{tensor.name}: {len(data)} bytes are there, expected {size}")
        numbers = torch.frombuffer(data, dtype=tensor.dtype, count=tensor.count)
        numbers = numbers.as_strided(tensor.shape, tensor.strides, tensor.offset)
        return numbers.to(device, torch.float32, copy=True).contiguous()

    def _map(self, name):
        """The bytes of a record, mapped rather than read; the mapping goes with the last reference to it."""
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
        # A private mapping: writable, as torch wants its memory, yet nothing would reach the file.
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
