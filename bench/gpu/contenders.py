"""Everything that can say what a scene says, and how far each is from float64."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from refvid.backbones.base import attend_all
from refvid.kernels.eager import masked_attention
from refvid.kernels.grouped import in_groups
from refvid.kernels.segment_attention import attention_over
from refvid.kernels.segments import Segments, everyone, visits

from .scenes import Scene, groups_of

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
OURS = "ours"
# Relative to float64: an eps of bf16, two for gradients; and what eight bits are good for.
ERROR, GRADIENT_ERROR, COARSE = 8e-3, 1.6e-2, 5e-2
PROBED = 2  # heads that are held against float64


@dataclass(frozen=True)
class Contender:
    """Contender: a way to attend. make, what it prepares once for a scene; of, the scenes it is for; module,
    the package it needs. error, how far it may be off; on_cpu, whether it runs there forward, and backward.
    removes, that it is given the kept tokens alone."""

    name: str
    make: Callable[[Scene], Attend]
    of: Callable[[Scene], bool] = lambda scene: True
    module: str | None = None
    error: float = ERROR
    gradients: bool = True
    on_cpu: tuple[bool, bool] = (True, True)
    removes: bool = False

    def why_not(self, dry: bool, backward: bool) -> str | None:
        """Reason why it cannot be asked here, or None."""
        if backward and not self.gradients:
            return "it has no gradients"
        if self.module is not None and importlib.util.find_spec(self.module) is None:
            return f"the package {self.module} is not installed"
        if dry and not self.on_cpu[backward]:
            return "it does not run on a CPU"
        return None


def ours(scene: Scene) -> Attend:
    attend = attention_over(scene.segments)
    return lambda q, k, v: attend(q, k, v, scene.bias)


def ours_removed(scene: Scene) -> Attend:
    assert scene.kept is not None
    attend = attention_over(everyone(len(scene.kept), len(scene.kept), scene.kept.device))
    return lambda q, k, v: attend(q, k, v, None)


def torchs(scene: Scene) -> Attend:
    """torch's attention, its own choice of kernel, without a mask."""
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v)


def cudnn(scene: Scene) -> Attend:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return F.scaled_dot_product_attention(q, k, v)

    return attend


def key_row(scene: Scene) -> Tensor:
    """(1, 1, 1, S): the bias of every key, -inf where nobody sees it."""
    of = scene.segments.of
    row = torch.zeros(of.shape, device=of.device) if scene.bias is None else scene.bias
    return row.masked_fill(of < 0, -torch.inf).to(torch.bfloat16)[:, None, None]


def by_key(scene: Scene) -> Attend:
    """One bias a key, as ComfyUI and this pack hand it to torch."""
    row = key_row(scene)
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=row)


def dense(scene: Scene) -> Attend:
    """A whole mask of queries by keys: of truths, or of numbers where keys weigh."""
    if scene.bias is not None:
        mask = key_row(scene).expand(1, 1, scene.length, -1).contiguous()
    else:  # a few rows at a time: the whole table of words would take four times as much, several times
        parts = [Segments(sees, scene.segments.of).dense() for sees in scene.segments.sees.split(4096, dim=1)]
        mask = torch.cat(parts, dim=1)[:, None]
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def groups(scene: Scene) -> Attend:
    """Queries that see the same keys, over those alone: this pack's way without its kernel."""
    attend = in_groups(attend_all, groups_of(scene.segments))
    return lambda q, k, v: attend(q, k, v, None)


def flex(scene: Scene) -> Attend:
    """FlexAttention, compiled, with block lists from the same segments: `create_block_mask` would hold a
    whole table."""
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    sees, of = scene.segments.sees[0], scene.segments.of[0]
    table = visits(scene.segments, 128, 128)[:, None]
    full, part, blocks = table[..., 0], table[..., 1], table[..., 2:]
    places = torch.arange(blocks.shape[-1], device=of.device)
    shifted = blocks.gather(-1, (places + full[..., None]).clamp_max(blocks.shape[-1] - 1))
    mask = BlockMask.from_kv_blocks(
        part.contiguous(), shifted.contiguous(), full.contiguous(), blocks.contiguous(), BLOCK_SIZE=128,
        mask_mod=lambda b, h, q, k: ((sees[q] >> of[k].clamp_min(0)) & 1).bool() & (of[k] >= 0),
        seq_lengths=(len(sees), len(of)),
    )  # fmt: skip
    levels = None if scene.bias is None else scene.bias[0]
    weigh = None if levels is None else lambda score, b, h, q, k: score + levels[k]
    # Code is not made for a CPU: that takes longer than all else of a dry run.
    backend = "inductor" if of.is_cuda else "eager"
    compiled = torch.compile(flex_attention, dynamic=False, backend=backend)
    return lambda q, k, v: compiled(q, k, v, score_mod=weigh, block_mask=mask)


def sage(scene: Scene) -> Attend:
    from sageattention import sageattn

    return lambda q, k, v: sageattn(q, k, v, tensor_layout="HND", is_causal=False)


def kitchen(scene: Scene) -> Attend:
    from comfy_kitchen.sage_attention import int8_attention

    return lambda q, k, v: int8_attention(q, k, v)


def kitchen_by_key(scene: Scene) -> Attend:
    from comfy_kitchen.sage_attention import int8_attention

    row = key_row(scene)
    return lambda q, k, v: int8_attention(q, k, v, attn_mask=row)


def _weighs_keys(scene: Scene) -> bool:
    return scene.bias is not None or scene.kept is not None


def _removable(scene: Scene) -> bool:
    return scene.kept is not None


SAGE = {"module": "sageattention", "error": COARSE, "gradients": False, "on_cpu": (False, False)}
KITCHEN = {**SAGE, "module": "comfy_kitchen"}
THIS = Contender(OURS, ours)
# What says most comes first: a run may be stopped.
CONTENDERS = (
    Contender("removal", torchs, _removable, removes=True),
    Contender("removal, cuDNN", cudnn, _removable, on_cpu=(False, False), removes=True),
    Contender("one bias per key", by_key, _weighs_keys),
    Contender("groups", groups, lambda scene: not _weighs_keys(scene)),
    Contender("FlexAttention", flex, on_cpu=(True, False)),
    Contender("dense mask", dense),
    Contender("removal, ours", ours_removed, _removable, removes=True),
    Contender("removal, sage", sage, _removable, removes=True, **SAGE),
    Contender("removal, comfy-kitchen INT8", kitchen, _removable, removes=True, **KITCHEN),
    Contender("comfy-kitchen INT8, one bias per key", kitchen_by_key, _weighs_keys, **KITCHEN),
)


def given(contender: Contender, scene: Scene, values: list[Tensor]) -> list[Tensor]:
    """query, key and value as a contender is handed them. Removal happens once a generation, not in a
    call."""
    if not contender.removes:
        return values
    assert scene.kept is not None
    return [value[:, :, scene.kept].contiguous() for value in values]


def error(contender: Contender, attend: Attend, scene: Scene, values: list[Tensor], backward: bool) -> float:
    """Error of some queries against float64. backward, the largest error of the three gradients that these
    queries alone would have, which are exact without a table of queries by keys."""
    rows = scene.rows()
    own = [value.detach().requires_grad_(backward) for value in given(contender, scene, values)]
    out = attend(*own)
    wide = [value[:, :PROBED].double() for value in values]
    wide[0] = wide[0][:, :, rows]
    truth = [one.detach().requires_grad_(backward) for one in wide]
    keep = Segments(scene.segments.sees[:, rows], scene.segments.of).dense()
    right = masked_attention(*truth, keep, scene.bias)
    off = _relative(out[:, :PROBED, rows], right)
    if not backward:
        return off
    pull = torch.zeros_like(out)
    pull[:, :PROBED, rows] = torch.sin(torch.arange(right.numel(), device=out.device)).view_as(right).to(pull)
    wanted = torch.autograd.grad(right, truth, pull[:, :PROBED, rows].double())
    grads = [grad[:, :PROBED] for grad in torch.autograd.grad(out, own, pull)]
    grads[0] = grads[0][:, :, rows]
    seen = [slice(None), *2 * [slice(None) if not contender.removes else scene.kept]]
    return max(_relative(grad, right[:, :, at]) for grad, right, at in zip(grads, wanted, seen, strict=True))


def _relative(found: Tensor, right: Tensor) -> float:
    return ((found.double() - right).norm() / right.norm()).item()
