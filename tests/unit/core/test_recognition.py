"""Public weights are recognised by keys of their own, else by whole words of the file's name."""

import logging

import pytest

from refvid.core import recipes, recognition
from refvid.core.recipes import AUTO_RECIPE, EDITING, RECIPES, choose_recipe, contradiction
from refvid.core.recognition import (
    PUBLIC,
    PublicWeights,
    Recognised,
    by_keys,
    by_name,
    recognise,
    require_runnable,
)

# Names of published files, and as people have them.
NAMED = {
    "Phantom-Wan-14B_fp16.safetensors": "phantom",
    "Phantom-Wan-1_3B_fp32.safetensors": "phantom",
    "Phantom_Wan_14B-Q4_K_M.gguf": "phantom",
    "Wan14BT2VFusioniX_Phantom_fp16.safetensors": "phantom",
    "phantomwan 14b.safetensors": "phantom",
    "my_phantom_opera.safetensors": "phantom",  # a whole word: it is logged, so that the user sees it
    "Wan21_SkyReelsV3-R2V_fp8_scaled_mixed.safetensors": "skyreels_v3",
    "Wan21_SkyReels-V3-R2V_fp8_scaled_mixed.safetensors": "skyreels_v3",
    "SkyReels-V3-R2V-14B-Q5_K_M.gguf": "skyreels_v3",
    "skyreels_v3_r2v.safetensors": "skyreels_v3",
    "SkyReels-V3-R2V-14B/diffusion_pytorch_model.safetensors": "skyreels_v3",
    "RefAlign-1.3B/model.safetensors": "refalign",
    "RefAlign-14B\\model.safetensors": "refalign",
    "RefAlign_14B_bf16.safetensors": "refalign",
    "Kaleido-14B-S2V.safetensors": "kaleido",
    "kaleido_14B_fp8.safetensors": "kaleido",
    "Concat-ID-Wan.safetensors": "concat_id",
    "ConcatID_wan_1.3B.safetensors": "concat_id",
    "Wan22_Bernini_HIGH_fp8_e4m3fn_scaled.safetensors": "bernini",
    "wan2.2_bernini_r_low_noise_fp8_scaled.safetensors": "bernini",
    "bernini_r_high_noise_14B-Q4_K_M.gguf": "bernini",
}
NAMELESS = [
    "wan2.1_t2v_14B_fp16.safetensors",
    "Wan21-SkyReelsV3-V2V_fp8_scaled_mixed.safetensors",  # extends videos
    "Wan21_SkyReelsV3-A2V_fp8_scaled_mixed.safetensors",
    "Wan2_1-SkyReels-V2-DF-14B-720P_fp16.safetensors",
    "phantoms.safetensors",
    "myphantom.safetensors",
    "Phantom2.safetensors",
    "kaleidoscope.safetensors",
    "standing_in_rain.safetensors",
    "concat_ideas.safetensors",
    "humor.safetensors",
    "model.safetensors",
    "phantom/wan2.1_t2v_14B_fp16.safetensors",  # a folder of several
    "",
]
REFUSED = {
    "Wan2_1-Wan-I2V-MAGREF-14B_fp8_e4m3fn.safetensors": "MAGREF",
    "wan2.1_magref_14B_fp16.safetensors": "MAGREF",
    "Wan2_1-I2V-14B-Bindweave_fp16.safetensors": "BindWeave",
    "BindWeave/model.safetensors": "BindWeave",
}
KEYED = {
    "vace_patch_embedding.weight": "VACE",
    "diffusion_model.blocks.0.self_attn.q_loras.down.weight": "Stand-In",
    "segment_embedding.weight": "SAMA",
    "0.to_k_ip.weight": "Lynx",
    "3.to_k_ref.weight": "Lynx",
    "condition_embedder.text_projector.linear_1.weight": "BindWeave",
    "text_projector.linear_1.weight": "BindWeave",
    "model.diffusion_model.audio_proj.audio_proj_glob_1.layer.bias": "HuMo",
    "casual_audio_encoder.encoder.final_linear.weight": "S2V",
    "face_adapter.fuser_blocks.0.k_norm.weight": "Animate",
    "patch_embedding_pose.weight": "SCAIL",
    "patch_embedding_mask.weight": "SCAIL",
}
PLAIN = ["patch_embedding.weight", "blocks.0.self_attn.q.weight", "head.modulation", "img_emb.emb_pos"]


@pytest.fixture(autouse=True)
def told(caplog, monkeypatch):
    monkeypatch.setattr(recipes, "_told", set())
    monkeypatch.setattr(recognition, "_told", set())
    caplog.set_level(logging.INFO)
    return lambda: list(caplog.messages)


@pytest.mark.parametrize(("name", "recipe"), NAMED.items())
@pytest.mark.parametrize("spelt", [str, str.lower, str.upper])
def test_the_name_of_a_file_says_its_recipe_in_any_case_and_with_any_separator(name, recipe, spelt):
    stem, dot, ending = name.rpartition(".")
    for separator in "_- ":
        stem = stem if "_model" in stem else stem.replace("_", separator)
        found = by_name(spelt(stem) + dot + ending)
        assert found is not None and found.weights.recipe == recipe and found.guessed
    assert not found.weights.refusal and recipe in RECIPES


@pytest.mark.parametrize("name", NAMELESS)
def test_parts_of_words_folders_of_many_and_other_weights_say_nothing(name, told):
    assert by_name(name) is None and told() == []


@pytest.mark.parametrize("name", ["Phantom_RefAlign_merge.safetensors", "skyreels-v3-r2v x bernini.gguf"])
def test_a_name_of_two_says_none_of_them_and_that_is_logged_once(name, told):
    assert by_name(name) is None is by_name(name)
    (said,) = told()
    assert "it is taken for none of them: choose the recipe" in said and " and " in said


@pytest.mark.parametrize(("key", "title"), KEYED.items())
def test_keys_that_no_others_have_are_known_and_come_before_the_name(key, title):
    found = recognise("Phantom.safetensors", [*PLAIN, key])
    assert found is not None and not found.guessed
    assert found.weights.title == title and key in found.said
    assert by_keys([f"model.diffusion_model.{plain}" for plain in PLAIN]) is None


def test_what_no_recipe_runs_comes_first_among_keys():
    found = by_keys(["vace_patch_embedding.weight", "text_projector.linear_1.weight"])
    assert found is not None and found.weights.title == "BindWeave"


def test_every_weights_has_a_mark_and_either_a_recipe_or_a_refusal():
    assert len({one.title for one in PUBLIC}) == len(PUBLIC)
    for one in PUBLIC:
        assert one.names or one.keys
        assert (one.recipe is None) == bool(one.refusal), one.title
        assert one.recipe is None or one.recipe in RECIPES | EDITING


@pytest.mark.parametrize(
    "key", [key for key, title in KEYED.items() if title not in ("VACE", "Stand-In", "SAMA")]
)
def test_keys_that_no_recipe_runs_are_refused_with_what_to_use_instead(key):
    with pytest.raises(ValueError, match=rf"^it is {KEYED[key]} by its key .*{key.rpartition('.')[0]}.*use "):
        require_runnable([*PLAIN, key], "it")
    require_runnable(PLAIN, "it")
    for name in (AUTO_RECIPE, "saber"):
        with pytest.raises(ValueError, match=rf"the model is {KEYED[key]} by its key"):
            choose_recipe(name, None, found=by_keys([key]))


# ---- the choice


def test_vace_is_what_auto_takes_and_no_word_against_what_runs_beside_it(told):
    found = by_keys(["vace_patch_embedding.weight"])
    assert choose_recipe(AUTO_RECIPE, None, found=found).name == "vace"
    assert choose_recipe("stand_in", None, found=found).name == "stand_in" and told() == []


@pytest.mark.parametrize(("name", "recipe"), NAMED.items())
def test_auto_takes_what_the_name_says_and_logs_it_once(name, recipe, told):
    for _ in range(2):
        assert choose_recipe(AUTO_RECIPE, None, found=by_name(name)).name == recipe
    (said,) = told()
    assert said.startswith(f"refvid: recipe {recipe}, by the name of its file, ")


def test_metadata_and_a_lora_come_before_keys_and_name(told):
    for found in (by_name("Phantom.safetensors"), by_keys(["segment_embedding.weight"]), by_name("MAGREF")):
        assert choose_recipe(AUTO_RECIPE, "saber", found=found).name == "saber"
        assert choose_recipe("saber", "saber", found=found).name == "saber"
    assert told() == []


def test_a_chosen_recipe_is_taken_as_before_and_the_names_word_against_it_is_said_once(told):
    found = by_name("Phantom-Wan-14B_fp16.safetensors")
    for _ in range(2):
        assert choose_recipe("saber", None, found=found).name == "saber"
    (said,) = told()
    assert (
        "the recipe is saber, but the model is Phantom by the name of its file, Phantom-Wan-14B_fp16" in said
    )
    assert choose_recipe("phantom", None, found=found).name == "phantom" and len(told()) == 1
    assert contradiction("phantom", None, found) is None


@pytest.mark.parametrize(("name", "title"), REFUSED.items())
def test_a_name_of_what_no_recipe_runs_is_refused_by_auto_and_said_to_who_chooses(name, title, told):
    found = by_name(name)
    with pytest.raises(ValueError, match=rf"^the model is {title} by the name of its file, .*; use Phantom"):
        choose_recipe(AUTO_RECIPE, None, found=found)
    assert choose_recipe("saber", None, found=found).name == "saber"
    (said,) = told()
    assert f"but the model is {title} by the name" in said and "auto takes" not in said


def test_a_recipe_that_is_not_registered_is_as_if_nothing_were_said(told):
    found = Recognised(PublicWeights("Tomorrow", "of_tomorrow", ("tomorrow",)), "its name", True)
    with pytest.raises(ValueError, match="does not say what it was trained for; choose one of saber"):
        choose_recipe(AUTO_RECIPE, None, found=found)
    assert choose_recipe("saber", None, found=found).name == "saber" and told() == []


def test_weights_of_the_other_kind_of_recipe_are_named_in_the_refusal():
    with pytest.raises(
        ValueError, match=r"recipe is auto, and the model is SAMA by its key segment_e.*; choose"
    ):
        choose_recipe(AUTO_RECIPE, None, found=by_keys(["segment_embedding.weight"]))
    with pytest.raises(
        ValueError, match=r"recipe is auto, and the model is Phantom by the name.*one of sama"
    ):
        choose_recipe(AUTO_RECIPE, None, EDITING, by_name("Phantom.safetensors"))
