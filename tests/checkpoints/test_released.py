import builtins
import collections
import os
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers import lightning_files as files
from helpers.paths import GOLDEN
from uddm_lib.checkpoints import _archive, load_released


@pytest.fixture(scope="module")
def model():
    return files.model()


@pytest.fixture
def contents(model):
    return files.contents(model)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.ckpt"


@pytest.fixture
def saved(path, contents):
    torch.save(contents, path)
    return path


def refused(path, message, **options):
    """Loading fails with a ValueError of one line that names the file and matches ``message``."""
    with pytest.raises(ValueError, match=message) as caught:
        load_released(path, **options)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# what a file gives ---------------------------------------------------------------


@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_golden_file(worst, weights):
    if not (GOLDEN / "lightning.ckpt").is_file():
        pytest.skip("the reference checkpoint (golden/lightning.ckpt) is not on this machine")
    reference = load_file(GOLDEN / "lightning_logits.safetensors")
    with torch.no_grad():
        found = load_released(GOLDEN / "lightning.ckpt", weights).denoise(
            reference["xt"], reference["sigma"]
        )
    worst(
        f"released checkpoint, {weights} weights: logits",
        "reference network",
        (found - reference[f"logits_{weights}"]).abs().max(),
        2e-5,
    )
    assert not {"omegaconf", "lightning"} & sys.modules.keys()


@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_weights_and_shape(saved, model, weights):
    state = torch.get_rng_state()
    found = load_released(saved, weights)
    assert torch.equal(state, torch.get_rng_state())
    expected = model if weights == "raw" else files.averaged(model)
    assert torch.equal(files.logits(found), files.logits(expected))
    assert {name: getattr(found.config, name) for name in files.CONFIG} == files.CONFIG
    assert not found.training and all(
        w.requires_grad and w.dtype == torch.float32 for w in found.parameters()
    )


def test_averages_are_the_default(saved, model):
    assert torch.equal(files.logits(load_released(str(saved))), files.logits(files.averaged(model)))


def test_classes_that_are_not_installed(path, contents, model):
    with files.foreign() as package:
        slotted = package.Slotted()
        slotted.a, slotted.b = 1, [slotted]
        contents["hyper_parameters"] = package.AttributeDict(
            config=files.configured(
                package, {"model": {**files.CONFIG, "length": 9, "dropout": 0.3}}
            ),
            many=[
                package.Items([1, 2]),
                package.Names("ab"),
                package.Default(list, {1: 2}),
                slotted,
                package.Kind.SECOND,
                package.DictConfig,
                collections.Counter("aab"),
                Path("a/b"),
                10**900,
                frozenset({1}),
                range(3),
                b"bytes",
                1j,
                torch.Size([1]),
                torch.float16,
                torch.device("cpu"),
            ],
        )
        contents["loops"] = {package.Kind.FIRST: {(1, package.Kind.SECOND): os.PathLike}}
        torch.save(contents, path)
    found = load_released(path, "raw")
    assert torch.equal(files.logits(found), files.logits(model))
    assert (found.config.length, found.config.dropout) == (9, 0.3)


def test_interpolations_and_other_unreadable_values_are_left(path, contents):
    with files.foreign() as package:
        stored = {"length": "${data.length}", "dropout": "???", "n_heads": None}
        contents["hyper_parameters"]["config"] = files.configured(package, {"model": stored})
        torch.save(contents, path)
    config = load_released(path).config
    assert (config.length, config.dropout, config.n_heads) == (128, 0.1, 4)


@pytest.mark.parametrize("prefix", ["backbone.", "backbone._orig_mod."])
def test_compiled_networks_and_other_modules(path, contents, model, prefix):
    state = {
        name.replace("backbone.", prefix): value for name, value in contents["state_dict"].items()
    }
    contents["state_dict"] = {
        "teacher.head.weight": torch.ones(2),
        **state,
        "noise.rate": torch.ones(1),
    }
    torch.save(contents, path)
    assert torch.equal(files.logits(load_released(path)), files.logits(files.averaged(model)))


def test_other_types_and_layouts(path, contents, model):
    state, averages = contents["state_dict"], contents["ema"]["shadow_params"]
    name = "backbone.blocks.1.attn_out.weight"
    state[name] = state[name].double().T.contiguous().T
    both = torch.stack([averages[0], averages[0]])
    averages[0], averages[1] = (
        torch.nn.Parameter(both[1]),
        averages[1].half(),
    )  # one a part of a longer storage
    averages[2] = averages[2].bfloat16()
    torch.save(contents, path)
    assert torch.equal(files.logits(load_released(path, "raw")), files.logits(model))
    torch.testing.assert_close(
        files.logits(load_released(path)), files.logits(files.averaged(model)), atol=0.02, rtol=0
    )


def test_tensors_of_a_gpu(saved, model):
    files.with_pickle(saved, lambda data: data.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"))
    assert b"cuda:0" in saved.read_bytes()
    found = load_released(saved, "raw", device="cpu")
    assert {weight.device.type for weight in found.parameters()} == {"cpu"}
    assert torch.equal(files.logits(found), files.logits(model))
    assert {weight.device.type for weight in load_released(saved, device="meta").parameters()} == {
        "meta"
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol(path, contents, model, protocol):
    torch.save(contents, path, pickle_protocol=protocol)
    assert torch.equal(files.logits(load_released(path, "raw")), files.logits(model))


# heads and length ----------------------------------------------------------------


def test_heads_by_configuration_or_argument(path, contents):
    del contents["state_dict"]["backbone.rotary_emb.inv_freq"]
    torch.save(contents, path)
    assert load_released(path).config.n_heads == 4
    refused(path, "n_heads=2 by the argument, but n_heads=4 by the configuration", n_heads=2)
    del contents["hyper_parameters"]
    torch.save(contents, path)
    refused(path, "does not tell the number of attention heads; give n_heads")
    assert load_released(path, n_heads=2).config.n_heads == 2
    refused(path, "hidden_size=16 is not a multiple of 2 x n_heads=3", n_heads=3)


def test_heads_that_contradict_the_file(path, contents):
    torch.save(contents, path)
    refused(path, "n_heads=2 by the argument.*n_heads=4 by rotary_emb.inv_freq", n_heads=2)
    contents["state_dict"]["backbone.rotary_emb.inv_freq"] = torch.ones(3)
    torch.save(contents, path)
    refused(path, r"inv_freq has the shape \(3,\), which fits no n_heads")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("value", [0, -1, 2.0, "4", True, [4]])
def test_heads_of_another_kind(saved, value):
    with pytest.raises(ValueError, match="n_heads=.* is not a positive integer"):
        load_released(saved, n_heads=value)


def test_length(saved):
    assert load_released(saved, length=50).config.length == 50
    refused(saved, "length=0 is not a positive integer", length=0)


# what is wrong -------------------------------------------------------------------


def test_weights_of_another_name(saved):
    with pytest.raises(ValueError, match="weights='foo' is unknown; allowed are 'ema' and 'raw'"):
        load_released(saved, "foo")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.ckpt is missing"):
        load_released(tmp_path / "nowhere.ckpt")
    refused(tmp_path, "is not a file")


def test_truncated_anywhere(saved, tmp_path):
    data = saved.read_bytes()
    for keep in [4, 30, 100, 5000, len(data) // 2, len(data) - 100, len(data) - 1]:
        saved.write_bytes(data[:keep])
        refused(saved, "truncated or damaged")
    saved.write_bytes(b"")
    refused(saved, "is empty")


@pytest.mark.parametrize("data", [b"{}", b"PK", b"\x80\x02}q\x00.", bytes(1000)])
def test_other_files(path, data):
    path.write_bytes(data)
    refused(path, "not a checkpoint, which is a zip archive")


def test_files_of_old_torch(path, contents):
    torch.save(contents, path, _use_new_zipfile_serialization=False)
    refused(path, "not a checkpoint, which is a zip archive .torch 1.6 or newer")


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("/data.pkl", None, "a zip archive with 0 files data.pkl"),
        ("/data.pkl", b"", "its pickle is damaged"),
        ("/data.pkl", b"\x80\x02", "its pickle is damaged"),
        ("/data/0", None, "the record model/data/0 is missing"),
        ("/data/0", b"", "0 bytes are there, expected 704"),
        ("/data/0", bytes(703), "703 bytes are there, expected 704"),
        ("/byteorder", b"big", "not little-endian"),
    ],
)
def test_records_missing_or_short(saved, name, data, message):
    files.rewrite(saved, lambda found, content: data if found.endswith(name) else content)
    refused(saved, message, weights="raw")


def test_compressed_records(saved):
    files.rewrite(saved, lambda name, data: data, zipfile.ZIP_DEFLATED)
    refused(saved, "damaged or compressed")


def test_flipped_bits_matter_only_in_what_is_read(saved, contents, model):
    def flip(name):
        with zipfile.ZipFile(saved) as archive, open(saved, "r+b") as file:
            file.seek(archive.getinfo(f"model/data/{name}").header_offset + 300)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))

    last = len(contents["state_dict"]) + 2 * len(contents["ema"]["shadow_params"])
    flip(last)  # an optimizer's: proof that these are not read
    assert torch.equal(files.logits(load_released(saved, "raw")), files.logits(model))
    flip(0)
    refused(saved, "damaged: the record model/data/0 does not match its checksum", weights="raw")


def test_keys_missing(path, contents):
    names = ["backbone.blocks.1.attn_qkv.weight", "backbone.output_layer.linear.bias"]
    for name in names:
        del contents["state_dict"][name]
    torch.save(contents, path)
    refused(path, "missing weights: blocks.1.attn_qkv.weight, output_layer.linear.bias")
    del contents["state_dict"]["backbone.vocab_embed.embedding"]
    torch.save(contents, path)
    refused(path, "missing weights: vocab_embed.embedding")
    torch.save({"state_dict": {f"backbone.{i}": torch.ones(1) for i in range(9)}}, path)
    refused(path, "missing weights: ")


@pytest.mark.parametrize("name", ["backbone.blocks.0.attn_qkv.bias", "backbone.head.weight"])
def test_keys_unknown(path, contents, name):
    contents["state_dict"][name] = torch.ones(3)
    torch.save(contents, path)
    refused(path, f"unknown weights: {name.removeprefix('backbone.')}")


def test_contents_of_another_kind(path, contents):
    for content, message in [
        ({"model": 1}, "no state_dict, but model"),
        ([1], "no state_dict, but nothing"),
        ({"state_dict": None}, "no backbone.*, but nothing"),
        ({"state_dict": {"a.b": 1}}, r"no backbone.*, but a.b"),
    ]:
        torch.save(content, path)
        refused(path, message)


def test_shapes(path, contents):
    state, name = contents["state_dict"], "backbone.blocks.1.attn_out.weight"
    state[name] = torch.ones(16, 15)
    torch.save(contents, path)
    refused(
        path,
        r"blocks.1.attn_out.weight has the shape \(16, 15\), expected \(16, 16\)",
        weights="raw",
    )
    load_released(path, "ema")
    contents["ema"]["shadow_params"][5] = torch.ones(17)
    torch.save(contents, path)
    refused(path, r"blocks.0.norm1.weight \(ema\) has the shape \(17,\), expected \(16,\)")
    state["backbone.vocab_embed.embedding"] = torch.ones(5)
    torch.save(contents, path)
    refused(path, r"vocab_embed.embedding has the shape \(5,\), expected a matrix", weights="raw")


@pytest.mark.parametrize("ema", [None, {}, {"shadow_params": None}, {"shadow_params": {}}, 3])
def test_no_averages(path, contents, model, ema):
    torch.save({**contents, "ema": ema}, path)
    refused(path, "no EMA weights .*; weights='raw' is available")
    assert torch.equal(files.logits(load_released(path, "raw")), files.logits(model))


def test_averages_of_another_number(path, contents):
    contents["ema"]["shadow_params"].append(torch.ones(2))
    torch.save(contents, path)
    refused(path, "31 EMA weights for 30 parameters; weights='raw' is available")


# hostile files -------------------------------------------------------------------


class Call:
    """An object that pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call

    def __call__(self):
        """Never called: picklers want the functions of calls to be callable."""


def attacks(trace):
    write = f"open({str(trace)!r}, 'w').close()"
    return {
        "os.system": Call(os.system, f"touch {trace}"),
        "eval": Call(eval, write),
        "exec": Call(exec, f"import os; os.environ['RELEASED_ATTACK'] = '1'; {write}"),
        "open": Call(open, str(trace), "w"),
        "getattr": Call(Call(getattr, Path(trace), "touch")),
        "called twice": Call(eval, Call(eval, repr(write))),
        "Popen": Call(subprocess.check_call, ["touch", str(trace)]),
        "list of them": [Call(eval, write), {"a": (Call(exec, write),)}],
    }


PLACES = {
    "root": lambda contents, attack: attack,
    "hyper_parameters": lambda contents, attack: {**contents, "hyper_parameters": attack},
    "config": lambda contents, attack: {
        **contents,
        "hyper_parameters": {"config": {"model": attack}},
    },
    "heads": lambda contents, attack: {
        **contents,
        "hyper_parameters": {"config": {"model": {"n_heads": attack}}},
    },
    "state_dict": lambda contents, attack: {**contents, "state_dict": attack},
    "a weight": lambda contents, attack: {
        **contents,
        "state_dict": {**contents["state_dict"], "backbone.vocab_embed.embedding": attack},
    },
    "ema": lambda contents, attack: {**contents, "ema": attack},
    "averages": lambda contents, attack: {**contents, "ema": {"shadow_params": attack}},
    "an average": lambda contents, attack: {
        **contents,
        "ema": {"shadow_params": [attack, *contents["ema"]["shadow_params"][1:]]},
    },
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attack", attacks(""))
def test_calls_leave_no_trace(tmp_path, path, contents, model, place, attack):
    trace = tmp_path / "trace"
    torch.save(PLACES[place](contents, attacks(trace)[attack]), path)
    environment, modules = dict(os.environ), set(sys.modules)
    if place in ("hyper_parameters", "config", "heads"):
        assert torch.equal(files.logits(load_released(path, "raw")), files.logits(model))
    else:
        refused(path, ".")
    assert (
        sorted(tmp_path.iterdir()) == [path]
        and dict(os.environ) == environment
        and set(sys.modules) == modules
    )


@pytest.mark.parametrize("attack", attacks(""))
def test_the_calls_are_real(tmp_path, path, contents, attack, monkeypatch):
    # Otherwise the test above would show nothing: an ordinary reader does what these files say.
    monkeypatch.setenv("RELEASED_ATTACK", "0")
    torch.save(PLACES["hyper_parameters"](contents, attacks(tmp_path / "trace")[attack]), path)
    opened = torch.load(path, weights_only=False)["hyper_parameters"]
    if attack == "open":
        opened.close()
    assert (tmp_path / "trace").exists() and os.environ["RELEASED_ATTACK"] == str(
        int(attack == "exec")
    )


def layout(tensor, **changes):
    """A tensor that pickles with another offset, shape or strides than it has."""
    function, arguments = tensor.__reduce_ex__(2)
    names = ["storage", "offset", "shape", "strides"]
    return Call(
        function,
        *({**dict(zip(names, arguments)), **changes}[name] for name in names),
        *arguments[4:],
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"offset": 1}, "does not fit its storage of 176 numbers"),
        ({"offset": -1}, "is not a plain tensor"),
        ({"offset": 2**80}, "does not fit"),
        ({"shape": (12, 16)}, "does not fit"),
        ({"shape": (2**70, 16)}, "does not fit"),
        ({"shape": (11, 0)}, "does not fit"),
        ({"shape": ()}, "plain tensor"),
        ({"strides": (17, 1)}, "does not fit"),
        ({"strides": (-16, 1)}, "plain tensor"),
        ({"shape": (10**9, 16), "strides": (0, 1)}, "does not fit"),
        ({"strides": (16,)}, "plain tensor"),
        ({"shape": (11.0, 16)}, "plain tensor"),
        ({"shape": [11, 16]}, "plain tensor"),
        ({"storage": 5}, "plain tensor"),
        ({"storage": ("storage", int, "0", "cpu", 176)}, "stored as .*, not as floating-point"),
        ({"offset": Call(eval, "1")}, "plain tensor"),
    ],
)
def test_tensors_beyond_their_storage(path, contents, changes, message):
    name = "backbone.vocab_embed.embedding"
    contents["state_dict"][name] = layout(contents["state_dict"][name], **changes)
    torch.save(contents, path)
    refused(path, message, weights="raw")


@pytest.mark.parametrize(
    "old, new, message",
    [
        (b"X\x07\0\0\0storage", b"X\x07\0\0\0modules", "is not a plain tensor"),
        (
            b"X\x01\0\0\x000",
            b"X\x0c\0\0\0../../passwd",
            "the record model/data/../../passwd is missing",
        ),
        (b"X\x01\0\0\x000", b"X\x0b\0\0\0../data.pkl", "is missing"),
        (b"X\x01\0\0\x000", b"K\x00", "is not a plain tensor"),
        (b"ctorch\nFloatStorage\n", b"ctorch\nLongStorage\n", "stored as torch.LongStorage"),
        (b"ctorch\nFloatStorage\n", b"cos\nsystem\n", "stored as os.system"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n", b"cbuiltins\nprint\n", "is not a plain tensor"),
    ],
)
def test_references_to_records(saved, old, new, message):
    files.with_pickle(saved, lambda data: data.replace(old, new, 1))
    refused(saved, message, weights="raw")


CLASS, FUNCTION = b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n"
STATE = b"}X\x01\0\0\0aK\x01s"
PICKLES = {
    "state for a class": CLASS + STATE + b"b.",
    "attributes for a class": CLASS + b"N" + STATE + b"\x86b.",
    "state for a function": FUNCTION + STATE + b"b.",
    "attributes for a function": FUNCTION + b"N" + STATE + b"\x86b.",
    "code for a function": FUNCTION + b"N}X\x08\0\0\0__code__Ns\x86b.",
    "methods for a class": CLASS + b"N}X\x0c\0\0\0__setstate__cbuiltins\neval\ns\x86b.",
    "state of an object": CLASS + b")\x81(X\x08\0\0\0__dict__K\x01t}b.",
    "class of an object": CLASS + b")\x81N}X\x09\0\0\0__class__cbuiltins\nint\ns\x86b.",
    "old-style calls": b"(Vx\nios\nsystem\n.",
    "object calls": b"(cos\nsystem\nVx\no.",
    "keyword calls": b"\x80\x04cbuiltins\neval\n)}X\x01\0\0\0aK\x01s\x92.",
    "names from the stack": b"\x80\x04X\x02\0\0\0osX\x06\0\0\0system\x93X\x02\0\0\0ls\x85R.",
    "dotted names": b"\x80\x04X\x02\0\0\0osX\x0b\0\0\0path.exists\x93X\x02\0\0\0ls\x85R.",
    "extensions": b"\x82\x01.",
    "long extensions": b"\x84\x01\0\0\0.",
    "a huge memo": b"Nr\xff\xff\xff\x7f.",
    "a huge text": b"\x80\x04\x8d" + b"\xff" * 6 + b"\0\0.",
    "a huge frame": b"\x80\x04\x95" + b"\xff" * 7 + b"\x7fN.",
    "an empty stack": b".",
    "no end": b"N",
    "a call of a number": b"K\x01)R.",
    "items of a number": b"K\x01(K\x01K\x02u.",
    "an unhashable key": b"}]K\x01s.",
    "references of any kind": b"Pabc\n.",
    "a list as reference": b"]Q.",
    "a buffer from outside": b"\x80\x05\x97.",
    "itself inside": b"]q\x00h\x00a.",
    "deep": b"]" * 100_000 + b"a" * 99_999 + b".",
    "memory unset": b"h\x05.",
    "a name with a zero": b"cos\nsys\0tem\n.",
    "another protocol": b"\x80\x63N.",
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_no_pickler_writes(saved, name):
    known = [
        vars(thing) if hasattr(thing, "__dict__") else None
        for thing in (
            collections.OrderedDict,
            torch._utils._rebuild_tensor_v2,
            builtins,
            os,
            _archive.Stub,
        )
    ]
    before, code = [dict(content) for content in known], torch._utils._rebuild_tensor_v2.__code__
    files.with_pickle(saved, lambda data: PICKLES[name])
    refused(
        saved,
        "has no place here" if name in ("extensions", "long extensions", "a huge memo") else ".",
    )
    assert [
        dict(content) for content in known
    ] == before and torch._utils._rebuild_tensor_v2.__code__ is code


def test_damaged_pickles_fail_cleanly(saved, contents, tmp_path):
    contents["callbacks"] = attacks(tmp_path / "trace")
    torch.save(contents, saved)
    whole, loaded = [], 0
    files.with_pickle(saved, lambda data: whole.append(data) or data)
    chance = random.Random(0)
    for _ in range(300):
        data = bytearray(whole[0])
        for _ in range(chance.choice([1, 3, 30])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            tree = _archive._unpickle(bytes(data))
            loaded += 1
            for node in _archive.mapping(_archive.mapping(tree).get("state_dict")).values():
                _archive.describe("any", node)
        except ValueError:
            pass
    assert loaded > 10 and sorted(tmp_path.iterdir()) == [saved]


def test_damaged_archives_fail_cleanly(saved, model):
    whole, chance, loaded, messages = saved.read_bytes(), random.Random(0), 0, []
    with zipfile.ZipFile(saved) as archive:
        starts = [record.header_offset for record in archive.infolist()]
        table = range(archive.start_dir, len(whole))
    for _ in range(200):
        data = bytearray(whole)
        data[
            chance.choice([chance.choice(table), chance.choice(starts) + chance.randrange(30)])
        ] ^= chance.choice([1, 16, 128, 255])
        saved.write_bytes(data)
        try:
            assert torch.equal(
                files.logits(load_released(saved, "raw")), files.logits(model)
            )  # whole or not at all
            loaded += 1
        except ValueError as error:
            messages.append(str(error))
    assert all(str(saved) in message for message in messages)
    assert 10 < loaded < 190


def test_a_reference_unpickler_would_obey():
    # The pickles above are well formed where they can be: the standard reader looks the names up.
    with pytest.raises(TypeError):
        pickle.loads(PICKLES["methods for a class"])
    assert pickle.loads(PICKLES["dotted names"]) is False


# memory --------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_is_the_models_only(path, contents):
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("peak memory is read from /proc")
    contents["optimizer_states"][0]["state"]["large"] = torch.zeros(
        2**26
    )  # 256 MiB, in a file for a tiny model
    torch.save(contents, path)
    assert path.stat().st_size > 2**28
    code = (
        "import sys; from uddm_lib.checkpoints import load_released\n"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "before = peak(); load_released(sys.argv[1]); print(peak() - before)"
    )
    grown = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert int(grown) < 60_000, "kB of memory beyond what the imports took"
