"""Nodes for tests only: what no core node makes and no small file holds. Copied into the test server's
custom_nodes."""

import functools
from pathlib import Path
from unittest import mock

import torch


def tiny_wan22_vae():
    """Core's Wan 2.2 VAE class behind core's VAE, its width 8 where the only one core reads from files is
    160."""
    import comfy.ldm.wan.vae2_2 as core
    import comfy.sd

    build = functools.partial(core.WanVAE, z_dim=48, temperal_downsample=[False, True, True])
    generator = torch.Generator().manual_seed(7)
    state = {key: _weight(value, generator) for key, value in build(dim=8, dec_dim=8).state_dict().items()}
    with mock.patch.object(core, "WanVAE", return_value=build(dim=8, dec_dim=8)):
        return comfy.sd.VAE(sd=state)


def _weight(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(value.shape, generator=generator)
    if value.ndim > 1 and value[0].numel() > 1:
        return noise / value[0].numel() ** 0.5
    return 0.1 * noise if value.ndim == 1 else 1 + 0.1 * noise  # biases, and the scales of the norms


class RefVidTestPicture:
    """A 64x64 picture with one value that is not a number."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "refvid/tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        picture = torch.full((1, 64, 64, 3), 0.5)
        picture[0, 3, 5, 1] = torch.nan
        return (picture,)


class RefVidTestWan22VAE:
    """A tiny VAE of 48 channels."""

    RETURN_TYPES = ("VAE",)
    FUNCTION = "make"
    CATEGORY = "refvid/tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        return (tiny_wan22_vae(),)


class RefVidTestBreaks:
    """A model that notes every evaluation in input/evaluated.txt, by its place in a list of models; while
    there is a file input/broken.txt the second of the list breaks."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "watch"
    CATEGORY = "refvid/tests"
    count = 0

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def watch(self, model):
        import folder_paths

        place, folder = RefVidTestBreaks.count, Path(folder_paths.get_input_directory())
        RefVidTestBreaks.count += 1

        def around(executor, *args, **kwargs):
            if place == 1 and (folder / "broken.txt").exists():
                raise RuntimeError("broken on purpose")
            with open(folder / "evaluated.txt", "a") as notes:
                notes.write(str(place))
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key("diffusion_model", "refvid_test", around)
        return (model,)


NODE_CLASS_MAPPINGS = {one.__name__: one for one in (RefVidTestPicture, RefVidTestWan22VAE, RefVidTestBreaks)}
