import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from uddm_lib._layers import rotary_tables, rotate
from uddm_lib.model import SIZES, UDDM, UDDMConfig


def small(**changes):
    return UDDMConfig.named("pico", vocab_size=11, length=6, **changes)


def randomized(config, seed=0):
    """A model none of whose weights is zero."""
    torch.manual_seed(seed)
    model = UDDM(config).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model


def test_a_new_model_predicts_uniformly_and_repeats_its_seed():
    torch.manual_seed(1)
    first = UDDM(small())
    torch.manual_seed(1)
    second = UDDM(small())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    logits = first(torch.zeros(2, 6, dtype=torch.long), torch.tensor(0.5)).logits
    assert logits.shape == (2, 6, 11) and logits.dtype == torch.float32
    assert (logits == 0).all()
    assert first.vocab_embed.weight.abs().sum() > 0 and first.blocks[0].qkv.weight.abs().sum() > 0


def test_save_and_load_give_the_same_logits(tmp_path):
    model = randomized(small())
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(again, UDDM) and again.config.architectures == ["UDDM"]
    z = torch.randint(11, (3, 6), generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.1, 1.0, 6.0])
    assert torch.equal(model.denoise(z, sigma), again.denoise(z, sigma))


def test_zero_layers_stay_zero_when_a_checkpoint_lacks_them(tmp_path):
    model = UDDM(small())
    state = {
        k: v
        for k, v in model.state_dict().items()
        if not k.startswith("head") and "modulation" not in k
    }
    model.save_pretrained(tmp_path, state_dict=state)
    again = UDDM.from_pretrained(tmp_path)
    assert again.head.weight.abs().sum() == 0 and again.blocks[1].modulation.weight.abs().sum() == 0


def test_sigma_may_be_a_number_a_vector_or_a_column():
    model = randomized(small())
    z = torch.arange(6).repeat(2, 1)
    expected = model.denoise(z, torch.tensor([0.3, 0.3]))
    assert torch.equal(model.denoise(z, 0.3), expected)
    assert torch.equal(model.denoise(z, torch.full((2, 1), 0.3)), expected)
    assert torch.equal(model.denoise(z, torch.tensor(0.3, dtype=torch.float64)), expected)


def test_logits_are_the_head_of_the_hidden_states():
    model = randomized(small())
    z = torch.arange(6)[None]
    hidden = model.hidden(z, 0.3)
    assert hidden.shape == (1, 6, 32)
    torch.testing.assert_close(model.head(hidden), model.denoise(z, 0.3))


def test_attention_is_the_library_attention():
    """Our product form on CPU against torch's fused kernel."""
    block = randomized(small()).blocks[0]
    h = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(0))
    ones, zeros = torch.ones(6, 8), torch.zeros(6, 8)
    q, k, v = block.qkv(h).view(2, 6, 3, 2, 16).permute(2, 0, 3, 1, 4)
    expected = (
        torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 6, 32)
    )
    torch.testing.assert_close(block._attend(h, (ones, zeros)), expected)


def test_positions_matter_only_relative_to_each_other():
    """Rotary attention: shifting all tokens in a window of pads shifts the attention's result."""
    h = torch.randn(1, 1, 8, 16, generator=torch.Generator().manual_seed(0))
    same = h[:, :, :1].expand(1, 1, 8, 16)
    rotated = rotate(same, rotary_tables(8, 16, h.device))[0, 0]
    products = rotated @ rotated.T
    torch.testing.assert_close(products[0, 2], products[5, 7])
    assert (products[0, 0] - products[0, 2]).abs() > 1e-2  # another distance, another product


def test_named_sizes_of_the_paper_have_the_released_parameter_counts():
    with torch.device("meta"):
        for size, millions in {"tiny": 23.7, "small": 139.3, "medium": 384.0}.items():
            model = UDDM(UDDMConfig.named(size, vocab_size=30_522, length=128))
            assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(
                millions, abs=0.06
            ), size


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hidden_size": 30, "n_heads": 4}, "hidden_size=30"),
        ({"vocab_size": 1}, "vocab_size=1"),
        ({"length": 0}, "length=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"n_blocks": 2.0}, "n_blocks=2.0"),
        ({"n_heads": True}, "n_heads=True"),
        ({"frequency_embedding_size": 7}, "frequency_embedding_size=7"),
    ],
)
def test_bad_shapes_are_named(change, message, unchecked):
    with pytest.raises(ValueError, match=message):
        UDDMConfig(**change)


def test_unknown_values_of_a_named_size_are_refused():
    with pytest.raises(ValueError, match="n_head=4 is unknown; allowed are .*, n_heads, dropout"):
        UDDMConfig.named("pico", 10, 10, n_head=4)


def test_sequences_of_a_batch_may_be_shorter_than_the_model():
    """There is no padding: what a batch holds is as long as it is."""
    model = randomized(small())
    z = torch.randint(11, (3, 4), generator=torch.Generator().manual_seed(0))
    logits = model.denoise(z, 0.3)
    assert logits.shape == (3, 4, 11)
    torch.testing.assert_close(logits[1:2], model.denoise(z[1:2], 0.3))


def test_unknown_size_lists_the_known_ones():
    with pytest.raises(ValueError, match="size='huge' is unknown.*" + ", ".join(SIZES)):
        UDDMConfig.named("huge", 10, 10)


@pytest.mark.parametrize("name", ["attention_mask", "labels", "token_type_ids"])
def test_arguments_that_the_model_does_not_know_are_refused(name):
    x = torch.zeros(1, 6, dtype=torch.long)
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        UDDM(small())(x, 0.1, **{name: torch.ones_like(x)})


def test_return_dict_is_that_of_transformers():
    model, x = randomized(small()), torch.zeros(1, 6, dtype=torch.long)
    expected = model(x, 0.1).logits
    assert torch.equal(model(x, 0.1, return_dict=True).logits, expected)
    (logits,) = model(x, 0.1, return_dict=False)
    assert torch.equal(logits, expected)


def test_sequences_longer_than_the_model_are_refused():
    with pytest.raises(ValueError, match="7 tokens do not fit a model of length 6"):
        UDDM(small()).denoise(torch.zeros(1, 7, dtype=torch.long), 0.1)


@pytest.mark.parametrize("size, length", [("pico", 6), ("nano", 40)])
def test_forward_flops_are_those_of_the_matrix_products(size, length):
    config = UDDMConfig.named(size, vocab_size=300, length=length, dropout=0.0)
    model, x = UDDM(config), torch.zeros(8, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(x, 0.5)
    # Once a sequence: what makes the modulations of the noise level.
    linear = [
        config.cond_dim * (6 * config.n_blocks + 2) * config.hidden_size,
        config.cond_dim * (config.frequency_embedding_size + config.cond_dim),
    ]
    assert counter.get_total_flops() == 8 * (length * config.forward_flops + 2 * sum(linear))
