"""Tables of a run file (run.toml) that methods on prepared clips share, with their defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .noise import NoiseSettings


@dataclass(frozen=True)
class RenderedClips:
    """Clips that are rendered, or decoded, as they are asked for: `path` is a source's address."""

    path: str = "world:"


@dataclass(frozen=True)
class RenderedRun:
    """Run file of a method on such clips: `train` is the method's own configuration."""

    method: str
    train: Mapping[str, Any]
    out: str = "runs/demo"
    data: RenderedClips = field(default_factory=RenderedClips)


@dataclass(frozen=True)
class ModelSettings:
    """Files of the model, as ComfyUI has them.

    dit           Wan's DiT: bf16, fp16 or fp32
    vae           Wan's VAE: clips and references are encoded by it
    text_encoder  UMT5, while clips are encoded; no part of a step
    base_dtype    in which the frozen weights are held: bf16, fp16 or fp32
    """

    dit: str = ""
    vae: str = ""
    text_encoder: str = ""
    base_dtype: str = "bf16"


@dataclass(frozen=True)
class ClipSettings:
    """Clips to learn from. Prepared ones have a rate, an area and windows: another is refused.

    path              prepared clips (`refvid data`), or folders of clips, which are prepared first
    fps               pictures a second at which folders are read; 0: 16
    pixels            area that folders are encoded at; 0: 832 x 480
    window            of a clip, as `refvid data encode` has it; empty: random
    held_out          clips that are never trained on; -1: an eighth of them, 16 at most
    frames            lengths that are learned from, in pictures; none: every length that was encoded
    share             of the steps that see each of `frames`; none: by how many clips there are
    caption_dropout   share of clips that are seen without their caption
    short_captions    share of clips that are seen with their short caption, where they have one
    """

    path: tuple[str, ...] = ()
    fps: float = 0.0
    pixels: int = 0
    window: str = ""
    held_out: int = -1
    frames: tuple[int, ...] = ()
    share: tuple[float, ...] = ()
    caption_dropout: float = 0.1
    short_captions: float = 0.5


@dataclass(frozen=True)
class LearningSettings:
    """Learning: what learns, and how.

    rank          of the LoRA
    targets       layers it changes: self_attn, cross_attn, ffn, or regular expressions over their names
    start         a LoRA to begin with; none: from nothing
    rate          of learning
    optimizer     adamw, muon, or module.Class
    options       further arguments of the optimizer
    weight_decay  of the LoRA's weights
    warmup        steps in which the rate rises
    schedule      of the rate then: constant, cosine or hold-decay
    steps         of the run
    batch         clips that are seen together
    accumulate    batches whose gradients make one step
    clip          largest norm of the gradients
    ema           decay of the average that is exported; 0: the last weights
    nonfinite     stop at a loss that is not finite, or skip that step
    noise         table: noise levels
    """

    rank: int = 32
    targets: tuple[str, ...] = ("self_attn", "cross_attn")
    start: str = ""
    rate: float = 1e-4
    optimizer: str = "adamw"
    options: Mapping[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.01
    warmup: int = 100
    schedule: str = "constant"
    steps: int = 3000
    batch: int = 1
    accumulate: int = 4
    clip: float = 1.0
    ema: float = 0.999
    nonfinite: str = "stop"
    noise: NoiseSettings = field(default_factory=NoiseSettings)


@dataclass(frozen=True)
class MemorySettings:
    """Memory against time.

    checkpointing  blocks: keep only the inputs of blocks, and compute them again; none: keep everything
    compile        compile the blocks (torch.compile)
    card           GiB that the plan counts with; 0: what the device has
    teraflops      a second, that the plan counts with; 0: 100 of a GPU, 0.05 of a CPU
    """

    checkpointing: str = "blocks"
    compile: bool = False
    card: float = 0.0
    teraflops: float = 0.0


@dataclass(frozen=True)
class ReportSettings:
    """Reports of a run, and how often they come.

    every               steps from one line of the log to the next
    validate_every      steps between measurements on held-out clips; 0: none
    sample_every        steps between sheets of samples; 0: none
    export_every        steps between LoRAs that are kept; 0: the last alone
    save_every_minutes  between states to go on from
    tensorboard         write for TensorBoard too, where it is installed
    """

    every: int = 20
    validate_every: int = 200
    sample_every: int = 500
    export_every: int = 500
    save_every_minutes: float = 10.0
    tensorboard: bool = True
