"""Cases of all that the plain host is asked for, as a table: a condition a case, made alike on every device
and in every type."""

from collections.abc import Callable
from dataclasses import dataclass, field

import refvid_riders as plain
import refvid_tiny as tiny
import torch
from torch import Tensor

from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.frames import GivenFrames
from refvid.core.guidance import CONDITIONED
from refvid.core.recipes import in_context, recipe_named, sama
from refvid.core.references import make_reference
from refvid.core.semantic import SemanticConfig, SemanticModules
from refvid.hosts.plain.identities import PeopleRider, Person
from refvid.hosts.plain.recall import Kept
from refvid.hosts.plain.source import SourceRider

SIGMA = 0.6
BATCH = 2


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Host:
    """A small DiT of random weights, rounded to `rounded`, then held in `dtype`, on a device; a latent's grid
    (F, h, w)."""

    head: int
    grid: tuple[int, int, int]
    rounded: torch.dtype
    dtype: torch.dtype
    device: torch.device
    dit: WanDiT = field(init=False)
    semantic: SemanticModules = field(init=False)

    def __post_init__(self) -> None:
        sizes = DiTConfig(2 * self.head, 3 * self.head, 2, 2, 16, 16, tiny.TEXT_WIDTH)
        made = WanDiT(sizes), SemanticModules(SemanticConfig(sizes.width, 24, 20))
        made[0].load_state_dict(tiny.dit_state(sizes))
        made[1].load_state_dict(tiny.semantic_state(sizes.width))
        for name, module in zip(("dit", "semantic"), made, strict=True):
            module.to(self.rounded).to(self.device, self.dtype).eval().requires_grad_(False)
            object.__setattr__(self, name, module)

    def put(self, tensor: Tensor) -> Tensor:
        """Device to which the host's files would be read."""
        return tensor.to(self.rounded).to(self.device, self.dtype)

    def latent(self, seed: int, batch: int = 1, frames: int | None = None) -> Tensor:
        _, rows, columns = self.grid
        return self.put(drawn(batch, 16, frames or self.grid[0], rows, columns, seed=seed))

    def half(self, side: int) -> Tensor:
        """A region: the left half of the pictures, or the right one."""
        rows, columns = (8 * cells for cells in self.grid[1:])
        return torch.arange(columns).div(columns / 2).floor().eq(side).float().expand(rows, -1)


@dataclass(frozen=True)
class Case:
    """References by their controls, each with a region's side or none; more of a condition; evaluations in a
    row."""

    controls: tuple[Controls, ...] = ()
    sides: tuple[int | None, ...] = ()
    recipe: str = "saber"
    more: Callable[[Host], dict] = lambda host: {}
    turns: int = 1


def edited(semantic: bool) -> Callable[[Host], dict]:
    def made(host: Host) -> dict:
        recipe = sama() if semantic else in_context()
        return {"source": SourceRider(host.latent(20), recipe, host.semantic if semantic else None)}

    return made


def people(cells: bool) -> Callable[[Host], dict]:
    def made(host: Host) -> dict:
        width, frames, rows, columns = host.dit.config.width, *host.grid
        tokens = [host.put(drawn(5, width, seed=30 + k)) for k in range(3)]
        phrase = drawn(2, tiny.TEXT_WIDTH, seed=33)
        where = None
        if cells:  # the first on the left, the second everywhere
            where = (2 + (torch.arange(columns) < columns // 2).long()).expand(frames, rows, columns)
        return {"people": PeopleRider((Person(tokens[0], 0.4, phrase), Person(tokens[1])), tokens[2], where)}

    return made


def given_frames(host: Host) -> dict:
    replaced = torch.zeros(host.grid[0], dtype=torch.bool).index_fill(0, torch.tensor(0), True)
    clean = host.latent(21) * replaced[None, None, :, None, None].to(host.device)
    return {"frames": GivenFrames(clean, replaced)}


SOFT, ALONE = Controls(soft=True), Controls(sees="itself", strength=2.0)
CASES = {
    "neutral": Case((Controls(), Controls())),
    "strengths": Case((Controls(0.3), Controls(3.0))),
    "a soft mask": Case((SOFT, Controls())),
    "a fade": Case((Controls(steps=StepWindow(fade_in=0.9)),)),
    "one of two acts now, softly": Case((Controls(steps=StepWindow(0.95)), SOFT)),
    "some frames": Case((Controls(frames=FrameWindow(0, 0)), Controls())),
    "a region": Case((Controls(), Controls(0.5)), (0, None)),
    "two regions": Case((Controls(), Controls()), (0, 1)),
    "sees the video": Case((Controls(0.5, sees="video"), Controls())),
    "sees itself": Case((ALONE, Controls())),
    "sees frames, whose mean it takes": Case((Controls(0.5, sees="frames"), Controls()), (0, None)),
    "VideoMaker's kept keys": Case((ALONE,), recipe="videomaker", turns=2),
    "a recipe without text": Case((Controls(),), recipe="videomaker_no_text"),
    "streams of their own size": Case((Controls(), Controls(2.0)), recipe="bernini"),
    "an edit's source": Case((Controls(0.5),), recipe="in_context", more=edited(False)),
    "an edit's semantic tokens": Case((), more=edited(True)),
    "identities": Case((Controls(),), more=people(False)),
    "an identity in a region": Case((Controls(0.5),), more=people(True)),
    "given frames with a clock of their own": Case((Controls(0.5), Controls()), more=given_frames),
}


def condition(host: Host, case: Case, attention: str) -> plain.Condition:
    """Condition of a run of this case."""
    rows, columns = (8 * cells for cells in host.grid[1:])
    sides = case.sides or (None,) * len(case.controls)
    given = [
        make_reference(*_picture(rows, columns, seed), controls, None if side is None else host.half(side))
        for seed, (controls, side) in enumerate(zip(case.controls, sides, strict=True))
    ]
    encoded = None
    if given:
        arranged, cells, shown = plain.arrange_references(
            given, recipe_named(case.recipe), host.grid, host.dit.geometry
        )
        sizes = [(one.mask.shape[0] // 8, one.mask.shape[1] // 8) for one in shown]
        inputs = tuple(host.put(drawn(1, 16, 1, *size, seed=10 + k)) for k, size in enumerate(sizes))
        encoded = plain.ReferencesRider(arranged, inputs, cells)
    texts = {"positive": host.put(drawn(1, 6, tiny.TEXT_WIDTH, seed=5))}
    return plain.condition(texts, encoded, attention=attention, **case.more(host))


def _picture(rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """A picture and its mask, which keeps another part for every seed and whose edge cuts through tokens."""
    mask = torch.ones(rows, columns)
    mask[:, : columns // 4 + 3 * seed] = 0
    mask[rows - 5 :] = 0.4
    return torch.rand(rows, columns, 3, generator=torch.Generator().manual_seed(seed)), mask


@torch.no_grad()
def evaluated(host: Host, case: Case, attention: str, keeps: bool = True) -> Tensor:
    """The velocities of a batch, evaluation after evaluation, with what a pass keeps between them where it
    `keeps`; on the CPU in float64."""
    asked, kept, made = condition(host, case, attention), Kept() if keeps else None, []
    sigma = torch.tensor(SIGMA, device=host.device)
    for turn in range(case.turns):
        latent = host.latent(6 + turn, BATCH)
        latent = asked.begin(latent, seed=1)
        made.append(plain.velocity(host.dit, latent, sigma, asked, CONDITIONED, kept))
    return torch.stack(made).double().cpu()
