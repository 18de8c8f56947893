"""What profile paper takes, counted by hand."""

# Paper, table 1: hidden size, blocks; 128 tokens, conditioning of 128, BERT's vocabulary.
TABLE_1 = {"tiny": (256, 8), "small": (768, 12), "medium": (1024, 24)}
L, C, V = 128, 128, 30_522
RUNS = 54
TOKENS = 1_000_000 * 512 * L  # of a training

# Reverse process from t on a grid of 1,000 intervals: 1,000 t steps and the removal of noise.
# Greedy: only the last interval, from t = 1e-3 + 1e-5 to 1e-5, can move a token, and the removal.
STOCHASTIC = {0.05: 51, 0.1: 101, 0.25: 251, 0.5: 501, 1.0: 1001}
GREEDY, SHARES = 2, 10
RECOVERY = (5_000 + 5_000 + 1_250) * (
    sum(STOCHASTIC.values()) + SHARES * GREEDY
)  # train, test, control
ENTROPY = (
    2 * 20_000 * (STOCHASTIC[0.1] + 1)  # restored, and their tokens' entropy
    + 20_000 * STOCHASTIC[1.0]  # generated
    + 3 * 20_000
)  # entropy of train, test and generated sequences
H200 = {"bf16": 989e12, "fp32": 67e12}


def parameters(size):
    width, blocks = TABLE_1[size]
    noise_level = (256 * C + C) + (C * C + C)
    attention, mlp = (
        4 * width * width,
        (4 * width * width + 4 * width) + (4 * width * width + width),
    )
    block = attention + mlp + 2 * width + (C * 6 * width + 6 * width)  # two norms, six modulations
    end = width + (C * 2 * width + 2 * width) + (width * V + V)
    return V * width + noise_level + blocks * block + end


def flops_per_token(size):
    """Forward: a multiplication and an addition for each weight, and for each pair of tokens twice.

    Weights are those of matrix products.
    """
    width, blocks = TABLE_1[size]
    weights = blocks * 12 * width**2 + width * V
    return 2 * (weights + blocks * 2 * L * width)
