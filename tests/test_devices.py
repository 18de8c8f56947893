import pytest
import torch

from uddm_lib import devices

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forgotten():
    devices.has_fast_bf16.cache_clear()
    yield
    devices.has_fast_bf16.cache_clear()


@pytest.mark.parametrize(
    "instruction", ["amx_bf16", "avx512_bf16", "bf16", "sve_bf16", "avx512_f", None]
)
def test_a_cpu_has_fast_bf16_by_its_instructions(monkeypatch, capsys, instruction):
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx2": True, "bf16": False} | {instruction: True}
    )
    fast = instruction is not None and "bf16" in instruction
    for _ in range(2):
        assert devices.has_fast_bf16(CPU) is fast
        assert devices.computed_in("bf16", CPU) == ("bf16" if fast else "fp32")
    assert devices.computed_in("fp32", CPU) == "fp32"
    said = capsys.readouterr().out
    assert said == ("" if fast else "this cpu device has no fast bfloat16: computing in float32\n")


def test_a_cpu_whose_instructions_are_unknown_has_none(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not devices.has_fast_bf16(CPU)


def test_a_device_is_chosen_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.chosen("auto") == devices.chosen("cpu") == CPU
    with pytest.raises(ValueError, match="device='cuda' is not there: PyTorch sees no GPU"):
        devices.chosen("cuda")
    for name in ("mps", "gpu"):
        with pytest.raises(ValueError, match=f"device='{name}' is not allowed.*auto, cpu, cuda"):
            devices.chosen(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.chosen("auto") == devices.chosen("cuda") == torch.device("cuda")


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_has_fast_bf16_if_it_does_not_emulate_it(monkeypatch, supported):
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation: supported or including_emulation,
    )
    assert devices.has_fast_bf16(torch.device("cuda")) is supported


def test_no_stopwatch_decides(monkeypatch):
    monkeypatch.setattr(devices, "matmul_rate", None)
    monkeypatch.setattr(devices.time, "perf_counter", None)
    devices.has_fast_bf16(CPU)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError(), "AssertionError"),
        (RuntimeError("No working C++ compiler found\nand more"), "No working C++ compiler found"),
    ],
)
def test_without_a_compiler_the_function_itself_comes_back(monkeypatch, capsys, error, reason):
    def missing(*_, **__):
        raise error

    monkeypatch.setattr(torch, "compile", missing)
    assert devices.compiled(torch.sin, CPU) is torch.sin
    assert f"does not work here ({reason}): training eagerly" in capsys.readouterr().out


def test_the_rate_of_matrix_products_is_work_over_time(monkeypatch):
    """The clock advances by 2, 1, 1 and 4 s in four products: the first is left out."""
    ticks = iter([0.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 8.0])
    monkeypatch.setattr(devices.time, "perf_counter", lambda: next(ticks))
    assert devices.matmul_rate(CPU, shape=(3, 5, 7), repeats=3) == 2 * 3 * 5 * 7 / 1.0


def flushed():
    return bool(torch.tensor([1e-40]).mul(1.0) == 0)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU has no such setting")
def test_denormal_numbers_are_zero_inside_alone():
    assert not flushed()
    with devices.flushed_denormals():
        assert flushed()
        with devices.flushed_denormals():
            assert flushed()
        assert flushed()
    assert not flushed()

    @devices.flushed_denormals()
    def inside():
        assert flushed()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        inside()
    assert not flushed()
