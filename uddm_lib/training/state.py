"""What changes from step to step: weights, their moving average, optimizer, learning rate."""

import copy

import torch
from torch import Tensor
from transformers import get_scheduler

from uddm_lib.model import UDDM
from uddm_lib.training.muon import Muon
from uddm_lib.training.options import TrainingOptions

__all__ = ["TrainingState"]


class TrainingState:
    """A model that is trained, the moving average of its weights, the optimizer, its schedule.

    Args:
        model: the network, on the device that trains.
        options: how to train.
        bf16: whether products are in bfloat16.
    """

    def __init__(self, model: UDDM, options: TrainingOptions, bf16: bool = False) -> None:
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = options.ema_decay
        self.optimizers = _optimizers(model, options, bf16)
        self.schedules = {
            name: get_scheduler(options.lr_schedule, one, options.warmup_steps, options.steps)
            for name, one in self.optimizers.items()
        }

    @torch.no_grad()
    def update_average(self, updates: int) -> None:
        """Let the moving average follow the weights.

        The first update copies the weights. After k updates the next one keeps
        min(decay, (1 + k) / (10 + k)) of the average, the warm-up of the released code.

        Args:
            updates: number of updates so far. A count on the host: a device need not be waited for.
        """
        averages: list[Tensor] = list(self.average.parameters())
        weights: list[Tensor] = list(self.model.parameters())
        if updates == 0:
            torch._foreach_copy_(averages, weights)
        else:
            decay = min(self.decay, (1 + updates) / (10 + updates))
            torch._foreach_lerp_(averages, weights, 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the state, by names as ``model.head.weight``."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        return tensors | {
            f"{kind}.{index}.{name}": value
            for kind, optimizer in self.optimizers.items()
            for index, moments in optimizer.state_dict()["state"].items()
            for name, value in moments.items()
        }

    def restore(self, tensors: dict[str, Tensor], schedules: dict[str, dict]) -> None:
        """Take over the tensors and the schedules' ``state_dict`` of a checkpoint.

        Raises:
            ValueError: if they are another model's, or of another version of this package.
        """
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, key = name.split(".", 1)
            parts.setdefault(part, {})[key] = value
        try:
            self.model.load_state_dict(parts["model"])
            self.average.load_state_dict(parts["average"])
            moments_of = {kind: parts[kind] for kind in self.optimizers}
        except (RuntimeError, KeyError) as error:
            raise ValueError(
                "the training state is another model's or another version's; delete it to start "
                f"again ({str(error).splitlines()[0]})"
            ) from None
        for kind, optimizer in self.optimizers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in moments_of[kind].items():
                index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
            schedule = self.schedules[kind]
            schedule.load_state_dict(schedules[kind])
            for group, rate in zip(optimizer.param_groups, schedule.get_last_lr()):
                group["lr"] = rate


def _optimizers(
    model: UDDM, options: TrainingOptions, bf16: bool
) -> dict[str, torch.optim.Optimizer]:
    """AdamW for all weights; or Muon for the matrices inside the network, AdamW for the rest."""
    edges = {"vocab_embed.weight", "head.weight"}
    inside, rest = {}, []
    for name, weight in model.named_parameters():
        if options.optimizer == "muon" and weight.ndim == 2 and name not in edges:
            inside[name] = weight
        else:
            rest.append(weight)
    optimizers: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(
            rest,
            options.learning_rate,
            weight_decay=0.0,
            fused=model.device.type in ("cpu", "cuda") or None,
        )
    }
    if inside:
        # Query, key and value are one weight of the model; each by itself learns more in a step.
        parts = {weight: 3 if name.endswith("qkv.weight") else 1 for name, weight in inside.items()}
        dtype = torch.bfloat16 if bf16 else torch.float32
        optimizers["muon"] = Muon(parts, options.learning_rate, dtype)
    return optimizers
