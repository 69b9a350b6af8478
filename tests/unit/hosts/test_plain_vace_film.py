"""A film of VACE's through the pipeline and the command line."""

from dataclasses import replace

import pytest
import refvid_tiny as tiny
import torch

from refvid import cli
from refvid.backbones.wan.loading import load_dit
from refvid.core.controls import Controls
from refvid.core.frames import Placed
from refvid.core.references import make_reference
from refvid.hosts.plain.pipeline import Request, Settings, generate, inspect_references, load_pipeline
from refvid.media.pictures import write_picture

SIZES = tiny.config()
PICTURE = torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(1))
SETTINGS = Settings(width=32, height=32, frames=5, steps=2, scale=3.0, shift=4.0, seed=5)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vace")
    dit = tiny.save_dit(folder, "vace.safetensors", SIZES, tiny.vace_state(SIZES))
    return dit, tiny.save_vae(folder, width=2), tiny.save_text_encoder(folder)


def request(*strengths: float, **more) -> Request:
    given = tuple(make_reference(PICTURE, None, Controls(one)) for one in strengths)
    return Request("a toy", SETTINGS, given, **{"recipe": "vace", **more})


def test_a_film_has_its_length_whatever_stands_in_front_of_it(files):
    backbone = load_pipeline(*files, hints=True)
    films = [generate(backbone, request(*strengths)) for strengths in ((), (1.0,), (0.4,), (1.0, 1.0))]
    for film in films:
        assert film.shape == (3, 5, 32, 32) and torch.isfinite(film).all()
    for index, film in enumerate(films):
        assert all((film - other).abs().max() > 1e-4 for other in films[:index])


def test_a_model_and_a_recipe_that_are_not_of_one_kind_are_refused(files, tmp_path):
    backbone = load_pipeline(*files, hints=True)
    with pytest.raises(ValueError, match="recipe is saber, but the DiT is a VACE; needed the recipe vace"):
        generate(backbone, request(1.0, recipe="saber"))
    with pytest.raises(ValueError, match="--given: a VACE is given frames by its control video"):
        generate(backbone, request(1.0, given=Placed(PICTURE[None], [0])))
    plain = tiny.save_dit(tmp_path, "t2v.safetensors", SIZES, tiny.dit_state(SIZES))
    with pytest.raises(ValueError, match="recipe is vace, but the DiT is no VACE"):
        generate(replace(backbone, dit=load_dit(plain)[0]), request(1.0))


def test_an_inspection_refuses_them_by_name(files, tmp_path):
    given, plain = (
        list(request(1.0).references),
        tiny.save_dit(tmp_path, "t.safetensors", SIZES, tiny.dit_state(SIZES)),
    )
    for dit, recipe, said in (
        (files[0], "auto", "recipe is vace, whose references are not shown here"),
        (files[0], "saber", "recipe is saber, but the DiT is a VACE; needed the recipe vace"),
        (plain, "vace", "recipe is vace, but the DiT is no VACE"),
    ):
        with pytest.raises(ValueError, match=said):
            inspect_references(dit, given, SETTINGS, recipe)


def test_what_knows_no_hints_refuses_the_file_as_before(files, tmp_path, capsys):
    """Trainings of adapters and scores among them, which show a hint branch nothing."""
    said = "is a Wan VACE model, which has a forward of its own"
    for load in (load_dit, lambda dit: load_pipeline(dit, *files[1:])):
        with pytest.raises(ValueError, match=said):
            load(files[0])
    dit, vae, text = map(str, files)
    with pytest.raises(SystemExit):
        cli.main(
            [
                "score",
                "--toys",
                "2",
                "--dit",
                dit,
                "--vae",
                vae,
                "--text-encoder",
                text,
                "--out",
                str(tmp_path),
            ]
        )
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("count", [3, 1])
def test_a_hint_branch_that_does_not_divide_the_blocks_is_refused(tmp_path, count):
    sizes = tiny.config(layers=2 if count == 3 else 3)
    state = tiny.vace_state(tiny.config(layers=3))
    odd = {key: value for key, value in state.items() if not key.startswith(f"blocks.{sizes.layers}.")}
    odd = {key: one for key, one in odd.items() if count == 3 or not key.startswith("vace_blocks.2.")}
    path = tiny.save_dit(tmp_path, "odd.safetensors", sizes, odd)
    with pytest.raises(ValueError, match="vace_blocks beside"):
        load_dit(path, hints=True)


def test_the_command_line_makes_one(files, tmp_path):
    dit, vae, text = map(str, files)
    write_picture(tmp_path / "toy.png", PICTURE)
    out = tmp_path / "film.mp4"
    cli.main([
        "generate", "--dit", dit, "--vae", vae, "--text-encoder", text, "--recipe", "vace",
        "--reference", str(tmp_path / "toy.png"), "--strength", "0.5", "--prompt", "a toy", "--width", "32",
        "--height", "32", "--frames", "5", "--steps", "1", "--out", str(out),
    ])  # fmt: skip
    assert out.exists()
