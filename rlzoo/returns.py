"""What a critic makes of tokens, and what pairs of rollouts make of each other: tensors in, tensors out, as in `rlzoo.functional`."""

import math

import torch
from torch import Tensor


def gae(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, lam_B: Tensor) -> Tensor:
    """Generalised advantages, sum over l of (gamma lam)^l delta_{t+l}, delta_t = r_t + gamma V_{t+1} - V_t. [B, T], 0 where not counted

    arXiv:1506.02438 eq. 16. `values_BT` stand before their token; after the last counted one the value is 0. A row's own lambda.
    """
    counted_BT = mask_BT.to(values_BT.dtype)
    held_BT = values_BT.where(mask_BT, 0.0)
    delta_BT = (rewards_BT + gamma * torch.nn.functional.pad(held_BT[:, 1:], (0, 1)) - held_BT) * counted_BT
    advantages_BT = torch.zeros_like(held_BT)
    running_B = held_BT.new_zeros(len(held_BT))
    for t in reversed(range(held_BT.shape[1])):
        running_B = (delta_BT[:, t] + gamma * lam_B * running_B) * counted_BT[:, t]
        advantages_BT[:, t] = running_B
    return advantages_BT


def at_last(rewards_B: Tensor, mask_BT: Tensor) -> Tensor:
    """Each row's reward at its last counted token. [B, T], 0 elsewhere"""
    last_BT = mask_BT & ~torch.nn.functional.pad(mask_BT[:, 1:], (0, 1))
    return rewards_B[:, None] * last_BT.to(rewards_B.dtype)


def explained(targets_BT: Tensor, values_BT: Tensor, mask_BT: Tensor) -> float:
    """Share of the targets' variance over counted tokens that the values explain; 0 where the targets do not vary."""
    if not bool(mask_BT.any()):
        return 0.0
    told, left = targets_BT[mask_BT].double(), (targets_BT - values_BT)[mask_BT].double()
    spread = float(told.var(correction=0))
    return 1 - float(left.var(correction=0)) / spread if spread > 0 else 0.0


def clipped_value_loss(values_BT: Tensor, old_values_BT: Tensor, targets_BT: Tensor, clip: float | None) -> Tensor:
    """Half the squared error, or half that of the value held within `clip` of where it stood, whichever is larger. [B, T]"""
    error_BT = (values_BT - targets_BT).square()
    if clip is None:
        return 0.5 * error_BT
    held_BT = old_values_BT + (values_BT - old_values_BT).clamp(-clip, clip)
    return 0.5 * torch.maximum(error_BT, (held_BT - targets_BT).square())


def pair_weights(group_N: Tensor, right_N: Tensor, wrong_N: Tensor, dtype: torch.dtype) -> Tensor:
    """Weight of each pair (right row, wrong row of the same group): a mean over a group's pairs, then over groups with a pair. [N, N]

    They sum to 1, or to 0 where no group has a pair.
    """
    pairs_NN = (group_N[:, None] == group_N) & right_N[:, None] & wrong_N
    same_NN = (group_N[:, None] == group_N).to(dtype)
    in_group_N = same_NN @ pairs_NN.to(dtype).sum(1)
    rows_N = same_NN.sum(1)
    groups = ((in_group_N > 0).to(dtype) / rows_N).sum().round().clamp(min=1)
    return pairs_NN.to(dtype) / in_group_N.clamp(min=1)[:, None] / groups


def top_share(values_BT: Tensor, mask_BT: Tensor, share: float, parts_B: Tensor | None = None) -> Tensor:
    """The counted tokens of the largest values, as many as the share of them, rounded up; of equals the first. [B, T] bool

    `parts_B`: rows that are ranked together share a number; None: all are.
    """
    if parts_B is not None:
        each = [top_share(values_BT, mask_BT & (parts_B == part)[:, None], share) for part in parts_B.unique()]
        return torch.stack(each).any(0)
    told = values_BT[mask_BT]
    count = math.ceil(share * len(told) - 1e-9)
    chosen = torch.zeros_like(told, dtype=torch.bool)
    chosen[told.sort(descending=True, stable=True).indices[:count]] = True
    top_BT = torch.zeros_like(mask_BT)
    top_BT[mask_BT] = chosen
    return top_BT
