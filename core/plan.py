"""Plan of a training run: memory, work, time and disk from sizes alone, before anything is loaded.

Activations are a closed form, fitted to a count of all storages on fake tensors; a test counts them again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .geometry import Geometry
from .inspection import Sizes

GIB = float(1 << 30)
CHECKPOINTING = ("none", "blocks")
CUDA_CONTEXT = 2.0  # GiB of the driver's context and of the allocator's gaps [choice: plan-cuda-context]
TERAFLOPS = 100.0  # a second, of an RTX 4090 in bf16
_FP32, _BF16 = 4, 2  # bytes
_TEXT_SIDE = ("k", "v", "k_img", "v_img")  # of cross-attention: they read the text, or a picture


@dataclass(frozen=True)
class PlannedModel(Sizes):
    """A DiT as a plan needs it: its geometry, its parameters, and by name the shapes (out, in) of its linear
    layers."""

    geometry: Geometry
    parameters: int
    linear: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class PlannedClips:
    """Clips of one length and size, in pictures and pixels: reference tokens that they are seen with, and
    their share of the steps."""

    frames: int
    height: int
    width: int
    references: int = 0
    share: float = 1.0

    def video(self, geometry: Geometry) -> int:
        """Tokens of a clip. ValueError where its sides are no whole tokens or its length no whole frames."""
        return geometry.count(*geometry.latent(self.frames, self.height, self.width))

    def tokens(self, geometry: Geometry) -> int:
        """Tokens of a clip and of its references."""
        return self.video(geometry) + self.references

    def __str__(self) -> str:
        return f"{self.frames} frames {self.width}x{self.height}"


@dataclass(frozen=True)
class TrainingShape:
    """Numbers of a run that a plan follows from.

    changed          names of the linear layers with a LoRA
    average          an average of the weights is kept (EMA)
    weight_bytes     of a frozen parameter
    optimizer_bytes  state of the optimizer, for a parameter that learns
    resident         bytes that stay on the device beside the DiT: the VAE of fresh references
    cuda             the device is a GPU; else the CPU, where norms are not widened and no context is held
    wide             steps compute in fp32 without autocast, as on a CPU that emulates bf16
    card             GiB of the device
    teraflops        a second, that the device reaches
    clips            that are learned from; 0: not known
    exports          LoRAs that are written
    """

    model: PlannedModel
    buckets: tuple[PlannedClips, ...]
    changed: tuple[str, ...]
    card: float
    rank: int = 32
    batch: int = 1
    accumulate: int = 1
    steps: int = 3000
    checkpointing: str = "blocks"
    average: bool = True
    weight_bytes: int = _BF16
    optimizer_bytes: int = 8
    resident: int = 0
    cuda: bool = True
    wide: bool = False
    teraflops: float = TERAFLOPS
    clips: int = 0
    exports: int = 1

    def __post_init__(self) -> None:
        """ValueError for a number that is too small, no bucket, or a layer that the model has not."""
        least = {"rank": 1, "batch": 1, "accumulate": 1, "steps": 1}
        low = next((name for name, value in least.items() if getattr(self, name) < value), None)
        if low is not None:
            raise ValueError(f"{low} is {getattr(self, low)}; needed 1 or more")
        for name in ("card", "teraflops"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; needed more than 0")
        if self.checkpointing not in CHECKPOINTING:
            raise ValueError(f"checkpointing is {self.checkpointing}; needed {' or '.join(CHECKPOINTING)}")
        if not self.buckets:
            raise ValueError("clips have no length and size; needed at least one of each")
        odd = [name for name in self.changed if name not in self.model.linear]
        if odd or not self.changed:
            raise ValueError(f"targets name {odd[0] if odd else 'no layer'}; needed linear layers of the DiT")
        for bucket in self.buckets:
            bucket.video(self.model.geometry)

    @property
    def trainable(self) -> int:
        """Parameters of the LoRA."""
        return sum(self.rank * sum(self.model.linear[name]) for name in self.changed)

    @property
    def largest(self) -> PlannedClips:
        """PlannedClips with the most tokens, which decides the memory."""
        return max(self.buckets, key=lambda bucket: bucket.tokens(self.model.geometry))


@dataclass(frozen=True)
class PlannedMemory:
    """Bytes at the peak of a step, by what holds them.

    weights   frozen weights
    inputs    what blocks keep: their inputs, from which they are computed again, or without checkpointing all
    block     one block, computed again and differentiated
    learning  LoRA, gradients, optimizer and average
    resident  VAE
    context   CUDA's context, and gaps
    """

    weights: float
    inputs: float
    block: float
    learning: float
    resident: float
    context: float

    @property
    def total(self) -> float:
        return sum(vars(self).values())


def planned_memory(shape: TrainingShape, bucket: PlannedClips) -> PlannedMemory:
    """Memory of a step on a bucket. Attention is counted as fused: no matrix of L x L is kept."""
    model, checked = shape.model, shape.checkpointing == "blocks"
    tokens = shape.batch * bucket.tokens(model.geometry)
    kept, passing = _block_bytes(shape, bucket)
    moving = 2 * _FP32 + shape.optimizer_bytes + (_FP32 if shape.average else 0)
    return PlannedMemory(
        weights=model.parameters * shape.weight_bytes,
        inputs=model.layers * (_computed(shape) * tokens * model.width if checked else kept),
        block=kept + passing if checked else passing,
        learning=shape.trainable * moving,
        resident=shape.resident,
        context=CUDA_CONTEXT * GIB if shape.cuda else 0.0,
    )


def _block_bytes(shape: TrainingShape, bucket: PlannedClips) -> tuple[float, float]:
    """Bytes that a block keeps for its gradients, and those that pass while they are computed.

    Numbers are bytes for each of a token's features, fitted to counts under autocast to bf16, and in fp32.
    CUDA's autocast widens norms to fp32; the CPU's does not. A LoRA keeps its own copy of its layer's input,
    but for the output projection of an attention, whose input is kept anyway. In fp32 it copies nothing.
    """
    model, tokens = shape.model, bucket.tokens(shape.model.geometry)
    ratio, features = model.ffn_width / model.width, shape.batch * tokens * model.width
    kept = (56.5 + 4 * ratio if shape.wide else (36 if shape.cuda else 26) + 2 * ratio) * features
    own = [name for name in shape.changed if name.startswith("blocks.")]
    for name in own:
        rows = shape.batch * _rows(name, tokens, model)
        outputs, inputs = model.linear[name]
        copied = 0 if shape.wide or name.endswith("attn.o") else inputs
        cast = 0 if shape.wide else _BF16 * shape.rank * (inputs + outputs)
        kept += (_computed(shape) * rows * (copied + shape.rank) + cast) / model.layers
    if shape.wide:
        beside = 3.9 + 4 * ratio if any(".ffn." in name for name in own) else 0.0
        return kept, (0.6 + 8 * ratio + beside) * features
    widened = max(14.6 + 2 * ratio, 2.6 + 4 * ratio)
    passing = widened if shape.cuda else max(14.2 - 2 * ratio, 0.6 + 4 * ratio)
    return kept, passing * features


def _computed(shape: TrainingShape) -> int:
    """Bytes of a number that steps compute in."""
    return _FP32 if shape.wide else _BF16


def planned_work(shape: TrainingShape, bucket: PlannedClips) -> float:
    """Floating-point operations of a step on a bucket: all of its batches.

    A forward pass multiplies weights with tokens or with the text, and tokens with tokens and with the text.
    Of frozen weights the backward pass needs one product more, of attention two and a half. Checkpointing
    adds a forward pass.
    """
    model, tokens = shape.model, bucket.tokens(shape.model.geometry)
    forward = 2 if shape.checkpointing == "blocks" else 1
    linear = sum(2 * _rows(name, tokens, model) * ins * outs for name, (outs, ins) in model.linear.items())
    attention = 4 * model.layers * model.width * tokens * (tokens + model.text_tokens)
    own = sum(2 * _rows(name, tokens, model) * shape.rank * sum(model.linear[name]) for name in shape.changed)
    clip = (forward + 1) * linear + (forward + 2.5) * attention + (forward + 2) * own
    return clip * shape.batch * shape.accumulate


def _rows(name: str, tokens: int, model: PlannedModel) -> int:
    """Rows that go through a linear layer: of a clip, of its text, or of its timestep."""
    if name.startswith("time_"):
        return 1
    reads_text = "cross_attn" in name and name.rpartition(".")[2] in _TEXT_SIDE
    return model.text_tokens if reads_text or name.startswith(("text_", "img_emb")) else tokens


@dataclass(frozen=True)
class TrainingPlan:
    """Plan of a run. memory is that of its largest bucket, work the mean of a step, in floating-point
    operations."""

    shape: TrainingShape
    memory: PlannedMemory = field(init=False)
    work: float = field(init=False)

    def __post_init__(self) -> None:
        shares = sum(bucket.share for bucket in self.shape.buckets)
        if not shares > 0:
            raise ValueError(f"shares of lengths sum to {shares}; needed more than 0")
        work = sum(bucket.share * planned_work(self.shape, bucket) for bucket in self.shape.buckets)
        object.__setattr__(self, "memory", planned_memory(self.shape, self.shape.largest))
        object.__setattr__(self, "work", work / shares)

    @property
    def missing(self) -> float:
        """GiB that are missing; 0 or less where the run fits."""
        return self.memory.total / GIB - self.shape.card

    @property
    def fits(self) -> bool:
        return self.missing <= 0

    @property
    def seconds(self) -> float:
        """Duration of a step."""
        return self.work / (self.shape.teraflops * 1e12)

    @property
    def hours(self) -> float:
        """Duration of the run."""
        return self.seconds * self.shape.steps / 3600

    @property
    def state_bytes(self) -> int:
        """Size of a saved state: LoRA, average and optimizer."""
        shape = self.shape
        return shape.trainable * (_FP32 + shape.optimizer_bytes + (_FP32 if shape.average else 0))

    @property
    def lora_bytes(self) -> int:
        """Size of a LoRA's file, in fp16."""
        return self.shape.trainable * 2
