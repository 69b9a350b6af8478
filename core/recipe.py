"""Recipe of conditioning on reference pictures: how they enter a Wan DiT, as data."""

from dataclasses import dataclass, field
from typing import Literal

Canvas = Literal["video", "own"]
NullPass = Literal["keep", "drop", "zero"]
ReferenceClock = Literal["video", "own"]
Beside = Literal["after", "before", "index", "first"]
Carrier = Literal["behind", "hints"]
Offset = int | Literal["beyond"]
GREY = 127 / 255
WHITE = 1.0


@dataclass(frozen=True)
class Types:
    """Rows of a model's type embedding, which is added to tokens of each kind."""

    clean: int  # pictures and the source video
    semantic: int
    video: int


@dataclass(frozen=True)
class Placement:
    """Position of a picture's first token, and its source id; source 0 is the video."""

    frame: int = 0
    row: int = 0
    column: int = 0
    source: int = 0


@dataclass(frozen=True)
class Place:
    """Place of reference k of n beside a video of F latent frames, H rows and W columns of tokens.

    frame          "after" is F + k, "before" k - n, "index" k, "first" 0
    rows, columns  of its first token: a number, or "beyond" for H and W
    own_source     it has a source id of its own, k + 1
    """

    frame: Beside = "after"
    rows: Offset = 0
    columns: Offset = 0
    own_source: bool = False

    def of(self, index: int, count: int, video: tuple[int, int, int]) -> Placement:
        """The placement of reference `index`, counted from 0, of `count`. video: (F, H, W)."""
        frames, height, width = video
        frame = {"after": frames + index, "before": index - count, "index": index, "first": 0}[self.frame]
        row = height if self.rows == "beyond" else self.rows
        column = width if self.columns == "beyond" else self.columns
        return Placement(frame, row, column, index + 1 if self.own_source else 0)


@dataclass(frozen=True)
class Hints:
    """Settings that a set of weights was published with; a shift is None where the code names none.

    Where it names no size, length or rate, Wan 2.1's own stand there [choice: wans-own-settings].

    image_scale, text_scale  of separate guidance; an image scale of 1 leaves the references in all passes
    steps, shift             of sampling
    size                     width and height of the video, in pixels
    frames, fps              of the video
    """

    image_scale: float
    text_scale: float
    steps: int
    shift: float | None
    size: tuple[int, int]
    frames: int
    fps: int


@dataclass(frozen=True)
class Recipe:
    """Recipe of conditioning on reference pictures.

    canvas      "video": every picture is fitted into the video's size, or into `size` (width and height in
                pixels) where there is one; "own": it keeps its size, up to `longest_edge`
    fill        what stands where a picture is masked out or padded, 0…1
    keeps_padding  tokens of the padding stay in the sequence, because the weights were trained with them
    masked_input   the recipe fills a (latent, mask, latent) patch embedding, 36 channels on Wan 2.1
    null_pass   what the negative conditioning has of the references, for samplers that do not build their
                passes. It keeps them, drops them, or has zero latents in their places
    guider_null  what the pass without conditions has of them that guidance builds itself
                (`core.guidance.NULL`), by what the weights were trained with. Where it keeps them, a scale of
                its own does nothing to references
    place       where they stand, in the model's rotary positions
    reference_places  how many there always are: those without a picture hold zero latents. None: as many as
                there are pictures
    clock       timestep of reference tokens: the video's, or their own, 0, since they are clean
    reads_text  whether reference tokens read the prompt
    sees        what they read, where a reference does not say it (`core.controls.Controls.sees`)
    token_lora  the weights are a LoRA that acts on reference tokens alone (`core.token_lora`)
    types       the type embedding that tokens are told apart by, or None
    semantic_tokens  of them travel beside the video, as noisy as it, and are denoised with it; their queries
                and keys are zero
    carrier     where references travel. "behind": as tokens behind the video's. "hints": as frames of the
                model's own sequence, in front of the video, which its hint branch is shown (VACE)
    hints       settings that the weights were published with
    """

    name: str
    source: str
    canvas: Canvas
    fill: float
    keeps_padding: bool
    masked_input: bool
    null_pass: NullPass
    guider_null: NullPass
    place: Place = field(default_factory=Place)
    max_references: int = 8
    longest_edge: int = 848
    size: tuple[int, int] | None = None
    reference_places: int | None = None
    clock: ReferenceClock = "video"
    reads_text: bool = True
    sees: str = "all"
    token_lora: bool = False
    types: Types | None = None
    semantic_tokens: int = 0
    carrier: Carrier = "behind"
    hints: Hints | None = None

    def empty_places(self, count: int) -> int:
        """Number of places without a picture, beside `count` that have one; none where no picture acts."""
        return max(0, (self.reference_places or 0) - count) if count else 0
