"""Question: what does removal save against a dense mask in one attention call, on a CPU?

5656 tokens of which 4571 are kept, one thread. What the pack's Triton kernel costs against everything else
that masks attention is a question for a GPU: bench/gpu_run.py.
"""

import torch
import torch.nn.functional as F
from results import paired_ratio, record

VIDEO, REFERENCES, KEPT, HEADS = 4096, 1560, 475, 12
CASE = f"{VIDEO} + {REFERENCES} tokens, {KEPT} kept, {HEADS} heads of 128, fp32"


def main() -> None:
    torch.set_num_threads(1)
    length = VIDEO + REFERENCES
    kept = torch.zeros(length, dtype=torch.bool).index_fill(0, torch.arange(VIDEO + KEPT), True)
    query, key, value = torch.randn(3, 1, HEADS, length, 128)
    mask = kept.expand(1, 1, length, length).contiguous()
    less = [v[:, :, kept].contiguous() for v in (query, key, value)]
    masked = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)[:, :, kept]
    assert (masked - F.scaled_dot_product_attention(*less)).abs().max() < 1e-5
    ratio = paired_ratio(
        lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=mask),
        lambda: F.scaled_dot_product_attention(*less),
        runs=5,
        warm=1,
    )
    record("attention", f"{CASE}: dense mask / removal", ratio)


if __name__ == "__main__":
    main()
