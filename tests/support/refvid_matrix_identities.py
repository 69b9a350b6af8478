"""Claims of the matrix for identities (Slot-ID): what they do on every variant, and with the features they
live beside."""

from dataclasses import dataclass

import comfy.sample
import comfy.sd
import refvid_tiny as tiny
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from refvid_in_process import worst
from refvid_matrix import Claim, close, differs, differs_at_all, same
from refvid_matrix_variants import FRAMES, SIDE, Case, frames_of, wrap_blocks
from torch import Tensor

from refvid.core.identity import Identity
from refvid.hosts.comfy import adapters, identities

SLOT = "optimized_attention_override"


@dataclass(frozen=True)
class Known:
    """A case's adapter and two identities that its encoder read."""

    case: Case
    loaded: adapters.LoadedAdapter
    people: tuple[Identity, Identity]

    def region(self) -> Tensor:
        """The left half of the video."""
        side = SIDE * self.case.vae.spacial_compression_encode()
        return torch.zeros(side, side).index_fill(1, torch.arange(side // 2), 1.0)

    def apply(self, *asked: dict, model=None, texts=None):
        """(model, positive, negative) with a person for each of `asked`."""
        positive, negative = texts or self.case.texts()
        models = [model or self.case.model]
        for person, how in zip(self.people, asked, strict=False):
            models, positive, negative = identities.apply_identity(
                models, positive, negative, self.loaded, person, latent=self.case.latent(), **how
            )
        return models[0], positive, negative

    def run(self, *asked: dict, model=None, texts=None, **kwargs) -> Tensor:
        return self.sample(*self.apply(*asked, model=model, texts=texts), **kwargs)

    def sample(self, model, positive, negative, **kwargs) -> Tensor:
        """One step: what is claimed is claimed of every evaluation."""
        return self.case.run(model, positive, negative, steps=1, **kwargs)


def film(seed: int) -> Tensor:
    return torch.rand(7, 48, 48, 3, generator=torch.Generator().manual_seed(seed))


def known(case: Case) -> Known:
    loaded = adapters.load_comfy_adapter(
        str(tiny.save_adapter(case.folder, case.sizes, f"{case.name}-slots.safetensors"))
    )
    people = tuple(
        adapters.encode_comfy_identity(loaded, case.vae, film(seed), None, None)[0] for seed in (1, 2)
    )
    return Known(case, loaded, people)  # pyright: ignore[reportArgumentType]


def identities_act(case: Case) -> list[Claim]:
    who = known(case)
    bare, one = who.sample(case.model, *case.texts()), who.run({})
    other = Known(case, who.loaded, who.people[::-1])
    again = adapters.encode_comfy_identity(who.loaded, case.vae, film(1), None, None)[0]
    nobody = who.run({"strength": 0.0})
    both = who.run({}, {"region": who.region(), "strength": 0.5})
    return [
        ("strength 0", nobody, same, bare),
        ("one", one, differs, bare),
        ("another person", other.run({}), differs_at_all, one),
        ("read again", Known(case, who.loaded, (again, again)).run({}), same, one),
        ("weak", who.run({"strength": 0.2}), differs_at_all, one),
        ("slots alone", who.run({"parts": "slots"}), differs_at_all, one),
        ("in a region", who.run({"region": who.region()}), differs_at_all, one),
        ("in a region that is everywhere", who.run({"region": torch.ones_like(who.region())}), same, one),
        ("two", both, differs_at_all, one),
    ]


def identities_beside(case: Case) -> list[Claim]:
    """LoRA of core before and after, patches and overrides of other packs, references, a batch, a compiled
    model, windows."""
    who = known(case)
    asked = ({"strength": 0.6}, {"region": who.region()})
    wanted = who.run(*asked)
    return [
        *_with_lora(who, asked, wanted),
        *_with_patches(who, asked, wanted),
        *_in_batches(who, asked),
        *_compiled(who, asked),
        *_in_windows(who, asked),
        *_with_references(who, asked),
    ]


def _with_lora(who: Known, asked, wanted: Tensor) -> list[Claim]:
    add, merged = who.case.low_rank("blocks.1.cross_attn.v")
    whole = who.run(*asked, model=merged)
    model, positive, negative = who.apply(*asked)
    return [
        ("another LoRA before", who.run(*asked, model=add(who.case.model)), close, whole),
        ("another LoRA after", who.sample(add(model), positive, negative), close, whole),
        ("without it", wanted, differs_at_all, whole),
    ]


def _with_patches(who: Known, asked, wanted: Tensor) -> list[Claim]:
    case, seen = who.case, {"before": [], "after": []}
    calls: list[bool] = []

    def watch(where):
        return lambda run, args: seen[where].append(args["txt"].shape[1]) or run(args)

    def override(kernel, *args, **kwargs):
        calls.append(kwargs.get("mask") is not None)
        return kernel(*args, **kwargs)

    before = case.model.clone()
    wrap_blocks(before, case.sizes.layers, watch("before"))
    before.model_options["transformer_options"][SLOT] = override
    model, positive, negative = who.apply(*asked, model=before)
    wrap_blocks(model, case.sizes.layers, watch("after"))
    who.sample(model, positive, negative)
    calls.clear()
    [values.clear() for values in seen.values()]
    got = who.sample(model, positive, negative)
    longer = {inner - outer for inner, outer in zip(seen["before"], seen["after"], strict=True)}
    tokens = len(who.people[0].tokens("both"))
    return [
        ("idle patches and an override", got, same, wanted),
        ("the patch before sees the identities behind the text", longer <= {tokens, 2 * tokens}, same, True),
        ("and both passes went through it", len(longer), same, 2),
        ("weak keys reach the override as a mask", any(calls), same, True),
    ]


def _in_batches(who: Known, asked) -> list[Claim]:
    two = Known(who.case.twice(), who.loaded, who.people)
    noise = comfy.sample.prepare_noise(two.case.latent()["samples"], 5)
    both = two.run(*asked)
    singles = [who.run(*asked, noise=noise[row : row + 1]) for row in (0, 1)]
    longer = ([[torch.cat([t, t[:, :5]], 1), o] for t, o in who.case.texts()[0]], who.case.texts()[1])
    return [
        ("the first of a batch", both[:1], close, singles[0]),
        ("the second", both[1:], close, singles[1]),
        (
            "texts of unequal length still run",
            worst(who.run(*asked, texts=longer), singles[0]) > 0,
            same,
            True,
        ),
    ]


def _compiled(who: Known, asked) -> list[Claim]:
    torch._dynamo.reset()
    model, positive, negative = who.apply(*asked)
    compiled = model.clone()
    set_torch_compile_wrapper(compiled, backend="eager", fullgraph=True)
    eager = who.sample(model, positive, negative)
    return [("captured whole", who.sample(compiled, positive, negative), close, eager)]


def _in_windows(who: Known, asked) -> list[Claim]:
    """Each window reads all identities; regions go with the frames."""
    case, half = who.case, FRAMES // 2
    model, positive, negative = who.apply(*asked)
    windowed = ContextWindowsManualNode.execute(
        model, half, 0, "batched", 1, False, "pyramid", 2, False, causal_window_fix=False
    ).result[0]
    latent = case.latent()
    noise = comfy.sample.prepare_noise(latent["samples"], 5)
    together, claims = who.sample(windowed, positive, negative), []
    for start in range(0, FRAMES, half):
        span = slice(start, start + half)
        conds = (frames_of(c, start, start + half) for c in (positive, negative))
        part = {key: value[:, :, span] for key, value in latent.items()}
        alone = who.sample(model, *conds, latent=part, noise=noise[:, :, span])
        claims.append((f"frames from {start}", together[:, :, span], close, alone))
    return claims


def _with_references(who: Known, asked) -> list[Claim]:
    case = who.case
    out = case.apply(1.0, 0.5)
    after = who.sample(*who.apply(*asked, model=out.model, texts=(out.positive, out.negative)))
    model, positive, negative = who.apply(*asked)
    again = who.case.apply_to(model, positive, negative)
    return [
        (
            "references and identities, in either order",
            who.sample(again.model, again.positive, again.negative),
            close,
            after,
        ),
        ("references change what identities make", after, differs_at_all, who.run(*asked)),
        (
            "identities change what references make",
            after,
            differs_at_all,
            who.sample(out.model, out.positive, out.negative),
        ),
    ]
