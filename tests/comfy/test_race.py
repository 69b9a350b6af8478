"""`attention = auto` on a GPU, played on the CPU: Triton's place is taken by plain torch, the clock says who
is fast."""

import functools
import json
import logging

import folder_paths
import pytest
import refvid_races
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from refvid_in_process import empty_latent, picture, sample, worst
from refvid_in_process import text as text_of

from refvid.core import verdicts
from refvid.core.controls import Controls
from refvid.core.inspection import inspection_report
from refvid.core.references import make_reference
from refvid.hosts.comfy import attention, attention_choice, tail
from refvid.hosts.comfy.inspection import inspect_comfy_references
from refvid.hosts.comfy.references import apply_references
from refvid.kernels import whole
from refvid.kernels.eager import eager_attention

pytestmark = pytest.mark.comfy
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
TEXTS = [[text_of(1), {}]], [[text_of(2), {}]]
OVERRIDE = attention.OVERRIDE
BLOCKS = 2


def reference(region=None, **controls):
    return make_reference(picture(3), None, Controls(**controls), region)


def applied(model, vae, one, name: str = "auto", recipe: str = "saber"):
    return apply_references(model, None, *TEXTS, vae, empty_latent(), [one], recipe, attention=name)


def run(model, vae, one, name: str = "auto", steps: int = 1):
    out = applied(model, vae, one, name)
    return sample(out.model, out.positive, out.negative, empty_latent(), steps=steps)


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    before = folder_paths.get_user_directory()
    folder_paths.set_user_directory(str(tmp_path / "user"))
    restart(monkeypatch)
    yield refvid_races.play(monkeypatch, attention, 3.0, 2.9, 1.0)
    folder_paths.set_user_directory(before)


def restart(monkeypatch) -> None:
    old = attention_choice.COMFY_VERDICTS
    monkeypatch.setattr(attention_choice, "COMFY_VERDICTS", verdicts.Verdicts(old._folder, old._versions))


def told(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if "attention path" in r.getMessage()]


CASES = {
    "strength": lambda: reference(strength=0.3),
    "region": lambda: reference(LEFT),
    "both": lambda: reference(LEFT, strength=2.0),
    "sees itself": lambda: reference(sees="itself"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_winner_runs_in_every_block_and_says_the_same(t2v, vae, gpu, caplog, case):
    with caplog.at_level(logging.INFO, logger="refvid"):
        found = run(t2v, vae, CASES[case](), steps=2)
    ((_, held),) = gpu.races
    assert held.path == "triton" and not held.left_out
    assert gpu.calls == 2 * 2 * BLOCKS or gpu.calls == 2 * BLOCKS  # steps, passes in one batch or two, blocks
    (said,) = told(caplog)
    assert "attention path triton" in said and "timed here: triton 1 ms" in said
    assert worst(found, run(t2v, vae, CASES[case](), "deterministic", steps=2)) < 1e-4


def test_who_races_is_who_says_the_same(t2v, vae, gpu):
    for case in ("strength", "region"):
        run(t2v, vae, CASES[case]())
    assert [list(held.milliseconds) for _, held in gpu.races] == [
        ["bias", "sdpa", "triton"],
        ["removal", "triton"],
    ]


@pytest.mark.parametrize("case", CASES)
def test_what_races_is_what_blocks_hand_over(t2v, vae, gpu, monkeypatch, case):
    seen, stand_in = [], whole.WHOLE_ATTENTION["triton"]

    def attend(groups):
        inner = stand_in(groups)

        def looking(query, key, value, bias):
            shown = None if bias is None else (tuple(bias.shape), bias.dtype)
            seen.append((*((tuple(one.shape), one.dtype) for one in (query, key, value)), shown))
            return inner(query, key, value, bias)

        return looking

    monkeypatch.setitem(whole.WHOLE_ATTENTION, "triton", attend)
    run(t2v, vae, CASES[case]())
    assert gpu.calls and len(seen) > gpu.calls and len(set(seen)) == 1


@pytest.mark.parametrize(("name", "runs"), [("triton", True), ("deterministic", False)])
def test_what_is_asked_for_by_name_is_not_raced(t2v, vae, gpu, name, runs):
    model = t2v.clone()
    model.model_options["transformer_options"][OVERRIDE] = lambda kernel, *args, **kwargs: kernel(
        *args, **kwargs
    )
    for one in (t2v, model):
        run(one, vae, CASES["strength"](), name)
        assert not gpu.races and bool(gpu.calls) == runs
        gpu.calls = 0


def test_a_mean_over_frames_is_left_to_those_that_take_it(t2v, vae, gpu):
    for controls in ({}, {"strength": 0.3}):
        run(t2v, vae, reference(sees="frames", **controls))
    assert [list(held.milliseconds) for _, held in gpu.races] == [["bias", "sdpa"]] and not gpu.calls


def test_a_race_is_held_once_and_kept_in_comfyuis_user_folder(t2v, vae, gpu, monkeypatch, tmp_path):
    first = run(t2v, vae, CASES["strength"]())
    restart(monkeypatch)
    gpu.taken = (1.0, 1.0, 9.0)  # a busy moment: read first, the verdict stays, and with it a seed's bits
    assert torch.equal(run(t2v, vae, CASES["strength"]()), first) and len(gpu.races) == 1
    kept = json.loads((tmp_path / "user" / "__refvid" / "attention.json").read_text())
    ((machine, kinds),) = kept.items()
    ((kind, entry),) = kinds.items()
    assert f"{refvid_races.NAME}, torch" in machine and "ComfyUI" in machine
    assert "attention_pytorch" in kind and entry["path"] == "triton"


def test_a_slow_one_leaves_every_bit_as_it_was(t2v, vae, gpu):
    gpu.taken = (1.0, 1.0, 1.0)
    found = run(t2v, vae, CASES["both"]())
    assert len(gpu.races) == 1 and not gpu.calls
    assert torch.equal(found, run(t2v, vae, CASES["both"](), "deterministic"))


@pytest.mark.parametrize("wrong", ["off", "raises"])
def test_a_wrong_one_is_named_and_leaves_every_bit_as_it_was(t2v, vae, gpu, monkeypatch, caplog, wrong):
    def attend(groups):
        if wrong == "off":
            return lambda query, key, value, bias: eager_attention(groups)(query, key, value, None)
        return lambda *_: 1 / 0

    monkeypatch.setitem(whole.WHOLE_ATTENTION, "triton", attend)
    with caplog.at_level(logging.WARNING, logger="refvid"):
        found = run(t2v, vae, CASES["strength"]())
    assert "triton left out: " + {"off": "off by", "raises": "ZeroDivisionError"}[wrong] in caplog.text
    assert torch.equal(found, run(t2v, vae, CASES["strength"](), "deterministic"))


def test_torchs_own_may_win_over_the_hosts(t2v, vae, gpu, caplog):
    gpu.taken = (3.0, 1.0, 2.0)
    with caplog.at_level(logging.INFO, logger="refvid"):
        run(t2v, vae, CASES["strength"]())
    assert gpu.races[0][1].path == "sdpa" and "attention path sdpa" in told(caplog)[0] and not gpu.calls


def test_an_override_of_another_pack_is_called_as_ever_and_nothing_races(t2v, vae, gpu):
    model, calls = t2v.clone(), []

    def theirs(kernel, *args, **kwargs):
        calls.append(1)
        return kernel(*args, **kwargs)

    model.model_options["transformer_options"][OVERRIDE] = theirs
    found = run(model, vae, CASES["strength"]())
    assert not gpu.races and not gpu.calls and len(calls) >= 2 * BLOCKS
    assert torch.equal(found, run(model, vae, CASES["strength"](), "deterministic"))


def test_an_override_for_one_block_is_called_there_though_another_won(t2v, vae, gpu):
    out = applied(t2v, vae, CASES["strength"]())
    calls, options = [], out.model.model_options["transformer_options"]
    ours = options["patches_replace"]["dit"][("double_block", 1)]

    def theirs(kernel, *args, **kwargs):
        calls.append(kwargs.get("mask") is not None)
        return kernel(*args, **kwargs)

    def patch(args, extra):
        return ours({**args, "transformer_options": {**args["transformer_options"], OVERRIDE: theirs}}, extra)

    model = out.model.clone()
    model.set_model_patch_replace(patch, "dit", "double_block", 1)
    found = sample(model, out.positive, out.negative, empty_latent(), steps=1)
    assert gpu.races[0][1].path == "triton" and any(calls)  # it gets the bias of that block's self-attention
    first_block = gpu.calls
    assert worst(found, run(t2v, vae, CASES["strength"](), "deterministic")) < 1e-4
    gpu.calls = 0
    run(t2v, vae, CASES["strength"]())
    assert gpu.calls == BLOCKS * first_block  # elsewhere the winner ran


def test_the_attention_of_cores_own_node_races_for_itself(t2v, vae, gpu, tmp_path):
    model, calls = t2v.clone(), []

    @functools.wraps(attention.core_attention.attention_pytorch)
    def chosen(*args, **kwargs):
        calls.append(1)
        return attention.core_attention.attention_pytorch(*args, **kwargs)

    chosen.__qualname__ = "attention_chosen"
    model.set_model_optimized_attention(chosen)
    assert attention.is_cores(model.model_options["transformer_options"][OVERRIDE])
    run(model, vae, CASES["strength"]())
    assert gpu.calls
    run(t2v, vae, CASES["strength"]())
    assert [held.path for _, held in gpu.races] == ["triton", "triton"] and calls
    text = (tmp_path / "user" / "__refvid" / "attention.json").read_text()
    assert "attention_chosen" in text and "attention_pytorch" in text


def test_only_the_hosts_attention_may_be_as_coarse_as_its_user_chose(t2v, vae, gpu, monkeypatch):
    core, stand_in = attention.core_attention.attention_pytorch, whole.WHOLE_ATTENTION["triton"]

    @functools.wraps(core)
    def coarse(query, key, value, *args, **kwargs):
        return core(query, key, value.bfloat16().float(), *args, **kwargs)

    def attend(groups):
        inner = stand_in(groups)
        return lambda query, key, value, bias: inner(query, key, value.bfloat16().float(), bias)

    monkeypatch.setitem(whole.WHOLE_ATTENTION, "triton", attend)
    model = t2v.clone()
    model.set_model_optimized_attention(coarse)
    for case in CASES:
        run(model, vae, CASES[case]())
    assert len(gpu.races) > 1 and all(list(held.left_out) == ["triton"] for _, held in gpu.races)


@pytest.mark.parametrize("wrap", ["partial", "object"])
def test_a_kernel_without_a_name_of_its_own_is_named_by_what_it_is_made_of(t2v, vae, gpu, tmp_path, wrap):
    class Kernel:
        def __call__(self, *args, **kwargs):
            return attention.core_attention.attention_pytorch(*args, **kwargs)

    kernel = Kernel() if wrap == "object" else functools.partial(attention.core_attention.attention_pytorch)
    model = t2v.clone()
    model.set_model_optimized_attention(kernel)
    run(model, vae, CASES["strength"]())
    text = (tmp_path / "user" / "__refvid" / "attention.json").read_text()
    assert ("Kernel" if wrap == "object" else ".attention_pytorch") in text and len(gpu.races) == 1


def test_neutral_references_race_with_nobody(t2v, vae, gpu):
    found = run(t2v, vae, reference())
    assert not gpu.races and not gpu.calls
    assert torch.equal(found, run(t2v, vae, reference(), "deterministic"))


def test_kept_keys_race_with_nobody(t2v, vae, gpu):
    out = applied(t2v, vae, reference(sees="itself"), recipe="videomaker")
    sample(out.model, out.positive, out.negative, empty_latent(), steps=2)
    assert not gpu.races and not gpu.calls


def test_inspecting_says_what_was_timed_or_will_be(t2v, vae, gpu):
    out = applied(t2v, vae, CASES["strength"]())

    def said() -> str:
        return inspection_report(inspect_comfy_references(out.model, out.positive, empty_latent())[0])

    before = said()
    assert "attention: bias" in before and "timed against others before the first step" in before
    assert not gpu.races
    sample(out.model, out.positive, out.negative, empty_latent(), steps=1)
    assert "attention: triton" in said() and "timed here: triton 1 ms" in said()


@pytest.mark.parametrize("node", [False, True])
def test_a_compiled_model_takes_the_winner_and_holds_the_race_outside(t2v, vae, gpu, node):
    model = t2v.clone()
    if node:
        model.set_model_optimized_attention(attention.core_attention.attention_pytorch)
    out = applied(model, vae, CASES["both"]())
    compiled = out.model.clone()
    set_torch_compile_wrapper(
        compiled, backend="eager", options=None, mode=None, fullgraph=True, dynamic=False
    )
    found = sample(compiled, out.positive, out.negative, empty_latent(), steps=1)
    assert [held.path for _, held in gpu.races] == ["triton"] and not gpu.races[0][1].left_out
    assert worst(found, run(t2v, vae, CASES["both"](), "deterministic")) < 1e-4


def test_the_environment_overrules(t2v, vae, gpu, monkeypatch):
    monkeypatch.setenv("REFVID_ATTENTION", "deterministic")
    run(t2v, vae, CASES["strength"]())
    assert not gpu.races and not gpu.calls
    monkeypatch.setenv("REFVID_ATTENTION", "triton")
    run(t2v, vae, CASES["strength"]())
    assert not gpu.races and gpu.calls
    monkeypatch.setenv("REFVID_ATTENTION", "fast")
    with pytest.raises(ValueError, match="REFVID_ATTENTION is 'fast'"):
        applied(t2v, vae, CASES["strength"]())


def test_on_a_cpu_nothing_is_raced_or_written(t2v, vae, monkeypatch, tmp_path):
    def never(*_, **__):
        raise AssertionError("a race on a CPU")

    monkeypatch.setattr(verdicts, "race", never)
    monkeypatch.setattr(attention_choice.COMFY_VERDICTS, "_machine", never)
    said = []
    monkeypatch.setattr(tail, "tell_path", said.append)
    for case in CASES.values():
        assert torch.equal(run(t2v, vae, case()), run(t2v, vae, case(), "deterministic"))
    assert len(said) >= 2 * len(CASES) and not any("timed" in choice.reason for choice in said)
