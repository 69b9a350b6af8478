"""Features of this pack that could run otherwise on a GPU than where they were tested. Each says how a GPU's
results show it, and what stands behind it as long as they do not."""

from dataclasses import dataclass

INTERPRETER = "Triton's interpreter on the CPU (`tests/kernels`)"


@dataclass(frozen=True)
class Feature:
    """part, whose results would show it; named, a pattern of the tests or cases that do; instead, what there
    is without."""

    name: str
    part: str
    named: str
    instead: str


FEATURES = (
    Feature(
        "the attention kernel, forward: bf16, fp16, fp32, ragged lengths, any strides, what sees nothing",
        "correct", r"test_segment_attention::test_every_result",
        f"{INTERPRETER}, every result against float64; compiled ahead of time for sm_80 to sm_120 and gfx942, nothing spilled (`tests/unit/kernels/test_kernels_compiled.py`)",
    ),
    Feature(
        "the attention kernel, backward: gradients of queries, keys, values and bias, the same bits twice",
        "correct", r"test_segment_attention::test_the_same_call",
        f"{INTERPRETER}, every gradient against float64; compiled ahead of time like the forward kernel",
    ),
    Feature(
        "long sequences, offsets beyond 32 bits, CUDA graphs",
        "correct", r"test_sizes::test_a_graph",
        "offsets in the interpreter; graphs: nothing",
    ),
    Feature(
        "the kernel under torch.compile with inductor",
        "correct", r"test_plain_host::test_a_compiled",
        "captured whole on the CPU (aot_eager, `opcheck`); inductor's code around it was never run",
    ),
    Feature(
        "without ComfyUI: every control through every attention (removal, bias, sdpa, triton, eager), in bf16 and fp16",
        "correct", r"tests\.gpu\.test_plain_host::test_every",
        "the same tests on the CPU in fp32, triton in the interpreter (`tests/gpu`); on a device that is only pretended, no tensor is left on the CPU (`tests/unit/hosts/test_plain_devices.py`)",
    ),
    Feature(
        "inside ComfyUI: every control through every attention, in bf16 and fp16",
        "correct", r"tests\.comfy\.test_gpu::(?!.*(real_size|compile))",
        "ComfyUI on the CPU in fp32, triton in the interpreter (`tests/comfy`)",
    ),
    Feature(
        "ComfyUI's own fused modulation (CUDA, over 16 M elements), which references in a batch pass through",
        "correct", r"tests\.comfy\.test_gpu::.*real_size",
        "nothing: that path of ComfyUI exists on a GPU alone",
    ),
    Feature(
        "inside ComfyUI: torch.compile with inductor",
        "correct", r"tests\.comfy\.test_gpu::.*compile",
        "the graph is captured whole on the CPU (backend eager); no code is made of it",
    ),
    Feature(
        "`attention = auto`: its race of the exact paths, and the verdict that is kept",
        "correct", r"(auto|race)",
        "stand-in paths and a pretended GPU on the CPU (`tests/unit/kernels/test_race.py`, `tests/comfy/test_race.py`)",
    ),
    Feature(
        "training through the kernel: loss and gradients, autocast",
        "correct", r"tests\.gpu\.test_training",
        "the same tests on the CPU, the kernel in the interpreter",
    ),
    Feature(
        "speed and memory of attention calls, against torch's own (cuDNN too), FlexAttention, sage and comfy-kitchen's INT8",
        "speed", r"forward",
        "counted operations ([kernels.md](kernels.md), what the roof allows); on the CPU, what removal saves ([results.csv](../bench/results.csv))",
    ),
    Feature(
        "speed and memory of whole steps at 1.3B and 14B",
        "speed", r"a step",
        "small models on the CPU ([results.csv](../bench/results.csv))",
    ),
    Feature(
        "the sizes of the kernels' tiles (`kernels/tiles.json`)",
        "tiles", r"head size",
        "chosen because they compile without spills and fit into shared memory; not tuned",
    ),
    Feature(
        "speed and memory of training",
        "training", r"LoRA",
        "nothing at the size of a real model",
    ),
    Feature(
        "ComfyUI's memory estimate with references, offloading of weights, real 1.3B and 14B weights",
        "correct", r"$^",
        "ComfyUI on the CPU with tiny models of the same layouts",
    ),
    Feature(
        "Windows, AMD and Apple GPUs, several GPUs",
        "correct", r"$^",
        "nothing: the kernels refuse the first three by name; training over several processes was run on the CPU",
    ),
)  # fmt: skip
