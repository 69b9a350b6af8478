"""SAMA's layout on tiny models, in both hosts."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.sample
import refvid_in_process as run
import refvid_tiny as tiny
import torch
from refvid_riders import Condition, SourceRider, guided_velocity, rider
from refvid_riders import condition as conditioned
from torch import Tensor

from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.core.guidance import Scale, joint
from refvid.core.recipes import recipe_named
from refvid.core.semantic import SemanticModules, semantic_config, semantic_state
from refvid.hosts.comfy.backbone import load_model, with_shift
from refvid.hosts.comfy.install import install
from refvid.hosts.comfy.source.rider import Source as Rider
from refvid.hosts.comfy.source.rider import attach

FRAMES, SIDE = 3, 8
SHIFT = 5.0


def published(dit, modules, latent: Tensor, state: Tensor, source: Tensor, context: Tensor, timestep: float):
    """SAMA's forward as released, in float64 and in its own order: source, semantic tokens, video; one
    softmax over all of them, no part of the hosts' path. latent and source (1, 16, F, h, w), state (1, n,
    features) -> velocity, velocity of the semantic tokens. Zero type embeddings and no state are the plain
    in-context recipe."""
    dit, modules = copy.deepcopy(dit).double(), copy.deepcopy(modules).double()
    clock = torch.tensor([timestep], dtype=torch.float64)
    time, modulation = dit.embed_time(clock)
    text = dit.text_embedding(context.double())
    parts = [
        dit.embed_patches(source.double()),
        modules.siglip_feat_mlp(state.double()),
        dit.embed_patches(latent.double()),
    ]
    tokens = torch.cat(
        [part + row for part, row in zip(parts, modules.segment_embedding.weight, strict=True)], dim=1
    )
    turn = _rotation(latent.shape, dit.head_size)
    still = torch.zeros(state.shape[1], turn.shape[1], dtype=turn.dtype)
    turns = torch.cat([turn, still, turn])[:, None]
    for block in dit.blocks:
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (block.modulation + modulation[:, 0]).chunk(
            6, dim=1
        )
        tokens = tokens + _dense(block.self_attn, block.norm1(tokens) * (1 + scale) + shift, turns) * gate
        tokens = tokens + _cross(block.cross_attn, block.norm3(tokens), text)
        tokens = tokens + block.ffn(block.norm2(tokens) * (1 + ffn_scale) + ffn_shift) * ffn_gate
    first, last = parts[0].shape[1], parts[2].shape[1]
    made = dit.to_latent(tokens[:, -last:], time, tuple(latent.shape[2:]))
    return made, modules.semantic_head(tokens[:, first : first + state.shape[1]])


def _rotation(shape, head: int) -> Tensor:
    """Unit complex numbers (tokens, head/2) of a video's grid, by Wan's own words: 22, 21 and 21 of 64 pairs
    and likewise."""
    frames, rows, columns = shape[2], shape[3] // 2, shape[4] // 2
    sizes = (head - 4 * (head // 6), 2 * (head // 6), 2 * (head // 6))
    places = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in (frames, rows, columns)))
    angles = [
        torch.outer(places[:, axis], 10000 ** -(torch.arange(0, size, 2, dtype=torch.float64) / size))
        for axis, size in enumerate(sizes)
    ]
    return torch.exp(1j * torch.cat(angles, dim=1))


def _dense(layer, tokens: Tensor, turns: Tensor) -> Tensor:
    query, key = (
        torch.view_as_real(
            torch.view_as_complex(one.unflatten(2, (layer.heads, -1, 2)).contiguous()) * turns
        ).flatten(3)
        for one in (layer.norm_q(layer.q(tokens)), layer.norm_k(layer.k(tokens)))
    )
    return layer.o(_read(query, key, layer.v(tokens).unflatten(2, (layer.heads, -1))))


def _cross(layer, tokens: Tensor, text: Tensor) -> Tensor:
    split = (
        one.unflatten(2, (layer.heads, -1))
        for one in (layer.norm_q(layer.q(tokens)), layer.norm_k(layer.k(text)), layer.v(text))
    )
    return layer.o(_read(*split))


def _read(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    logits = torch.einsum("bqnd,bknd->bnqk", query, key) / query.shape[-1] ** 0.5
    return torch.einsum("bnqk,bknd->bqnd", logits.softmax(-1), value).flatten(2)


@dataclass
class Editor:
    """One file in SAMA's layout on both hosts, a source video's latent as the VAE makes it, and texts."""

    comfy: object
    dit: object
    modules: SemanticModules
    source: Tensor
    vae: object
    plain_vae: object
    recipe = recipe_named("sama")

    @classmethod
    def make(cls, folder: Path) -> "Editor":
        sizes = tiny.config()
        path = tiny.save_dit(folder, "sama.safetensors", sizes, tiny.sama_state(sizes))
        state = semantic_state(tiny.sama_state(sizes))
        modules = SemanticModules(semantic_config(state, "test"))
        modules.load_state_dict(state)
        plain = tiny.save_dit(folder, "plain.safetensors", sizes, tiny.dit_state(sizes))
        source = torch.randn(1, 16, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(6))
        model = with_shift(load_model(str(path), None), SHIFT)
        vae = tiny.save_vae(folder)
        still = modules.requires_grad_(False)
        return cls(model, load_dit(plain)[0], still, source, run.load_vae(vae), load_vae(vae))

    def attach(self, conditioning):
        return attach(conditioning, self.source, self.recipe)

    def in_float64(self) -> "Editor":
        """The plain side in float64."""
        return replace(
            self, dit=copy.deepcopy(self.dit).double(), modules=copy.deepcopy(self.modules).double()
        )

    def words(self, recipe: str = "sama"):
        """Positive and negative conditioning that carry the source."""
        return [attach([[run.text(seed), {}]], self.source, recipe_named(recipe)) for seed in (1, 2)]

    def installed(self):
        return install(self.comfy, Rider)

    def condition(self, recipe: str = "sama", **more) -> Condition:
        """Condition of the same edit for the plain host."""
        seen = self.comfy.model.process_latent_in(self.source)
        texts = {"positive": run.text(1), "negative": run.text(2)}
        modules = self.modules if recipe == "sama" else None
        return conditioned(
            texts, shift=SHIFT, source=SourceRider(seen, recipe_named(recipe), modules), **more
        )

    def plainly(self, condition: Condition, scale: float = 4.0, steps: int = 4, seed: int = 5) -> Tensor:
        """The latent that the plain host makes, as ComfyUI gives it out."""
        source = rider(condition, SourceRider)
        assert source is not None
        frames = source.latent.shape[2]
        noise = comfy.sample.prepare_noise(run.empty_latent(frames, SIDE, SIDE)["samples"], seed)
        velocity = guided_velocity(self.dit, condition, joint(Scale(scale)))
        latent = sample_euler(velocity, condition.begin(noise, seed), flow_sigmas(steps, SHIFT))
        return self.comfy.model.process_latent_out(latent[:, :, :frames])

    def longer(self, frames: int) -> "Editor":
        """Edit of a source of so many latent frames."""
        made = torch.randn(1, 16, frames, SIDE, SIDE, generator=torch.Generator().manual_seed(6))
        return replace(self, source=made)
