# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mixture-of-Recursions compiled: against the NumPy model and the interpreter, and the same bits however rows are run.

The oracle cases (scripts/oracles.py) compare with the authors' code; here are folders with drawn weights, one for each
option that changes what is computed (mor_models.py). Under the released rule a prompt is routed whole and every new
token goes through all visits; rows of token choice and of `--routing=causal` are routed one by one.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Tools
from gguf import GGMLQuantizationType, quants
from mor_models import CAUSAL_MODELS, EXPERT_MODELS, MODELS, TOKEN, TOKEN_MODELS, VOCABULARY, Routed, write_mor
from runtime_library import DEPTHWISE, Library, Model, Scheduler, Session, row
from safetensors.numpy import load_file, save_file
from test_mixed_depths import check_scheduler, check_walk
from test_mixed_depths import compute_alone as compute_in_whole_steps
from test_mixed_depths import make_prompts as draw_prompts

from rondo.reference import MixtureOfRecursions, greedy, load_model

SEEDS = (1, 2, 3)
# Across the limit of few rows (8), a block of rows (48) and a KV page (128).
LENGTHS = [1, 2, 9, 49, 140]
NEW_TOKENS = 12
TOLERANCE = 3e-6  # as a part of the largest value, of f32 against f64 with the same weights
RELEASED, CAUSAL = "--routing=released", "--routing=causal"
# Ways of routing that each have other code: model and options.
WAYS = {
    "released": ("middle-few", [RELEASED]),
    "released-shared": ("middle-shared-warm", [RELEASED]),
    "causal": ("middle-few", [CAUSAL]),
    "causal-shared": ("middle-shared-warm", [CAUSAL]),
    "token": ("token", []),
    "token-shared": ("token-shared", []),
}
each_way = pytest.mark.parametrize("way", WAYS)


def make_prompts(seed: int = 5, lengths: list[int] = LENGTHS) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCABULARY, length).tolist() for length in lengths]


def routing_of(name: str) -> list[str]:
    return [RELEASED] if MODELS[name].type == "expert" else []


def compile_way(tools: Tools, folder: Path, way: str, *options: str) -> Path:
    name, routing = WAYS[way]
    return tools.compile(write_mor(folder / "model", MODELS[name]), folder / "model.rondo", *routing, *options)


def load_way(folder: Path, way: str) -> MixtureOfRecursions:
    """The reference of what `compile_way` compiled."""
    model = load_model(folder / "model", np.float64)
    return model.with_routing("causal") if way.startswith("causal") else model


def run(tools: Tools, bundle: Path, sequences: list[list[int]]) -> dict[str, np.ndarray]:
    """Logits and traces."""
    tokens = bundle.with_suffix(".json")
    tokens.write_text(json.dumps({"sequences": sequences}))
    logits, trace = bundle.with_suffix(".logits"), bundle.with_suffix(".trace")
    tools.run("rondo-run", bundle, f"--tokens-file={tokens}", f"--logits={logits}", f"--trace={trace}")
    return load_file(logits) | load_file(trace)


def assert_close(got: np.ndarray, want: np.ndarray, what: str) -> None:
    assert got.shape == want.shape, what
    assert np.abs(got - want).max(initial=0) <= TOLERANCE * np.abs(want).max(initial=1), what


def assert_same_bits(got: list[np.ndarray], want: list[np.ndarray], what: object) -> None:
    for number, (one, other) in enumerate(zip(got, want, strict=True)):
        assert one.tobytes() == other.tobytes(), f"{what}: sequence {number} of {len(other)} tokens differs"


def check_reference(model: MixtureOfRecursions, got: dict[str, np.ndarray], prompts: list[list[int]]) -> None:
    """Logits and all traces of the prompts against the reference, which rows were computed above all."""
    depths = set()
    for number, tokens in enumerate(prompts):
        trace: dict[str, np.ndarray] = {}
        assert_close(got[f"logits.{number}"], model.logits(tokens, trace), f"logits.{number}")
        visits = range(model.sharing.visits)
        names = ["depth", *(f"{kind}.{visit}" for kind in ("router", "selected", "hidden") for visit in visits)]
        if model.sharing.edges:
            names += ["prelude", "coda"]
        for name in names:
            if name not in trace:  # token choice has no lists, and states of rows at different depths
                assert name.startswith(("selected", "hidden"))
                continue
            first, _, visit = name.partition(".")
            value = got[f"{first}.{number}.{visit}" if visit else f"{first}.{number}"]
            if trace[name].dtype.kind == "i":
                assert np.array_equal(value, trace[name]), f"{name} of sequence {number}"
            else:
                assert_close(value, trace[name], f"{name} of sequence {number}")
        depths |= set(trace["depth"].tolist())
    assert len(depths) >= model.sharing.visits, "rows of each depth were to be compared"


# --- Against the reference ------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_equals_reference(tools: Tools, tmp_path: Path, name: str) -> None:
    model = write_mor(tmp_path / "model", MODELS[name])
    bundle = tools.compile(model, tmp_path / "model.rondo", "--exact", "--trace-points", *routing_of(name))
    check_reference(load_model(model, np.float64), run(tools, bundle, make_prompts()), make_prompts())


@pytest.mark.parametrize("name", CAUSAL_MODELS)
def test_causal_equals_reference(tools: Tools, tmp_path: Path, name: str) -> None:
    model = write_mor(tmp_path / "model", MODELS[name])
    bundle = tools.compile(model, tmp_path / "model.rondo", "--exact", "--trace-points", CAUSAL)
    reference = load_model(model, np.float64).with_routing("causal")
    check_reference(reference, run(tools, bundle, make_prompts()), make_prompts())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MODELS)
def test_new_tokens_equal_reference(tools: Tools, tmp_path: Path, name: str, seed: int) -> None:
    model = write_mor(tmp_path / "model", MODELS[name], seed)
    bundle = tools.compile(model, tmp_path / "model.rondo", "--exact", *routing_of(name))
    reference, prompts = load_model(model, np.float64), make_prompts(seed)
    want = [greedy(reference, prompt, NEW_TOKENS).tokens for prompt in prompts]
    assert len({token for tokens in want for token in tokens}) > NEW_TOKENS, "tokens were to differ"
    assert tools.generate(bundle, prompts, NEW_TOKENS) == want


@each_way
def test_recomputed_tokens_equal_reference(tools: Tools, tmp_path: Path, way: str) -> None:
    """Under the released rule a whole sequence is routed otherwise than its parts were."""
    bundle = compile_way(tools, tmp_path, way, "--exact")
    reference, prompts = load_way(tmp_path, way), make_prompts(lengths=[2, 9, 49])
    want = [greedy(reference, prompt, NEW_TOKENS, recompute=True).tokens for prompt in prompts]
    assert tools.generate(bundle, prompts, NEW_TOKENS, "--recompute") == want
    assert (tools.generate(bundle, prompts, NEW_TOKENS) == want) == (not way.startswith("released"))


# --- The same bits --------------------------------------------------------------


@pytest.mark.parametrize("name", EXPERT_MODELS)
def test_released_same_bits_whoever_shares_a_step(tools: Tools, tmp_path: Path, name: str) -> None:
    model, prompts = write_mor(tmp_path / "model", MODELS[name]), make_prompts()
    bundle = tools.compile(model, tmp_path / "model.rondo", RELEASED)
    want = tools.logits(bundle, prompts, "--batch=one", "--threads=1")
    for how in (["--threads=1"], ["--threads=2", "--oversubscribe"]):
        assert_same_bits(tools.logits(bundle, prompts, *how), want, how)
    assert_same_bits(tools.logits(bundle, prompts[::-1], "--threads=2", "--oversubscribe"), want[::-1], "reversed")


@pytest.mark.parametrize("name", [*TOKEN_MODELS, *CAUSAL_MODELS])
def test_same_bits_however_a_prompt_is_cut(tools: Tools, tmp_path: Path, name: str) -> None:
    model, prompts = write_mor(tmp_path / "model", MODELS[name]), make_prompts()
    routing = [CAUSAL] if name in CAUSAL_MODELS else []
    bundle = tools.compile(model, tmp_path / "model.rondo", *routing)
    want = tools.logits(bundle, prompts, "--batch=one", "--threads=1")
    for how in (["--threads=1"], ["--threads=2", "--oversubscribe"], ["--chunk=1"], ["--chunk=7", "--threads=1"],
                ["--chunk=130"], ["--chunk=1", "--batch=one"]):
        assert_same_bits(tools.logits(bundle, prompts, *how), want, how)


@pytest.mark.parametrize("options", [["--weights=bf16"], ["--weights=q8_0"], ["--exact", "--kv=f16"], ["-O0"]],
                         ids=" ".join)
@each_way
def test_same_bits_in_other_types(tools: Tools, tmp_path: Path, way: str, options: list[str]) -> None:
    bundle, prompts = compile_way(tools, tmp_path, way, *options), make_prompts()
    want = tools.logits(bundle, prompts, "--batch=one", "--threads=1")
    assert all(np.isfinite(logits).all() for logits in want)
    assert_same_bits(tools.logits(bundle, prompts, "--threads=2", "--oversubscribe"), want, "all")
    if not way.startswith("released"):
        assert_same_bits(tools.logits(bundle, prompts, "--chunk=7"), want, "chunks")


@each_way
def test_trace_points_change_nothing(tools: Tools, tmp_path: Path, way: str) -> None:
    bundle = compile_way(tools, tmp_path / "plain", way)
    traced = compile_way(tools, tmp_path / "traced", way, "--trace-points")
    want, got = tools.logits(bundle, make_prompts()), run(tools, traced, make_prompts())
    assert_same_bits(tools.logits(traced, make_prompts()), want, "with trace points")
    assert_same_bits([got[f"logits.{number}"] for number in range(len(want))], want, "with a trace")


# --- Requests beside each other -------------------------------------------------


def compute_alone(session: Session, tokens: list[int], prompt: int) -> list[bytes]:
    """Logits of every position of a sequence: its prompt in one step, then one token after the other."""
    sequence, logits = session.open(), []
    for part in (range(prompt), *([position] for position in range(prompt, len(tokens)))):
        rows = [row(sequence, position, tokens[position]) for position in part]
        logits += [values.tobytes() for values in session.step(rows, list(range(len(rows))))]
    session.close(sequence)
    return logits


@pytest.mark.parametrize("seed", SEEDS)
@each_way
def test_requests_that_arrive_at_random(tools: Tools, tmp_path: Path, way: str, seed: int) -> None:
    """Prompts of some and new tokens of others share steps, more requests than there are sequences."""
    bundle = compile_way(tools, tmp_path, way, "--rows=64", "--sequences=3")
    rng = random.Random(seed)
    prompts = make_prompts(seed, [rng.choice([1, 2, rng.randint(3, 20), rng.randint(20, 64)]) for _ in range(9)])
    counts = [rng.randint(1, 9) for _ in prompts]
    chunk = 0 if way.startswith("released") else rng.choice([0, 1, 7])
    with Model(Library(tools.folder), bundle) as loaded, Session(loaded, threads=1 + seed % 2) as session:
        with Scheduler(session, chunk, flags=0) as scheduler:
            for prompt, count in zip(prompts, counts, strict=True):
                scheduler.submit(prompt, count)
                for _ in range(rng.randrange(3)):
                    scheduler.step()
            while scheduler.step():
                pass
            new = [scheduler.tokens(request) for request in range(len(prompts))]
            together = dict(scheduler.logits)
        assert list(map(len, new)) == counts
        for request, prompt in enumerate(prompts):
            want = compute_alone(session, prompt + new[request][:-1], len(prompt))
            assert [together[request, position] for position in range(len(want))] == want, f"{request=}, {chunk=}"


@each_way
def test_batches_larger_than_what_fits(tools: Tools, tmp_path: Path, way: str) -> None:
    bundle = compile_way(tools, tmp_path, way, "--rows=50", "--sequences=2")
    prompts = make_prompts(lengths=[49, 1, 30, 2, 9, 49, 17])
    want = tools.generate(bundle, prompts, NEW_TOKENS, "--batch=one", "--threads=1")
    assert tools.generate(bundle, prompts, NEW_TOKENS, "--threads=1") == want
    assert tools.generate(bundle, prompts, NEW_TOKENS, "--threads=2", "--oversubscribe") == want


@each_way
def test_sequence_that_is_cut_and_continued(tools: Tools, tmp_path: Path, way: str) -> None:
    """What a visit has computed of positions that are forgotten is forgotten too."""
    bundle, tokens = compile_way(tools, tmp_path, way), make_prompts()[3]
    kept = 30  # of a prompt of 40
    with Model(Library(tools.folder), bundle) as loaded, Session(loaded, threads=1) as session:

        def step(sequence: int, positions: range) -> list[bytes]:
            rows = [row(sequence, position, tokens[position]) for position in positions]
            return [values.tobytes() for values in session.step(rows, list(range(len(rows))))]

        def run_on(sequence: int) -> list[bytes]:
            return [logits for p in range(kept, len(tokens)) for logits in step(sequence, range(p, p + 1))]

        sequence = session.open()
        step(sequence, range(40))
        rounds = []
        for _ in range(2):
            session.library.check("sequence_truncate", session.handle, sequence, kept)
            rounds.append(run_on(sequence))
        assert rounds[0] == rounds[1]
        if not way.startswith("released"):  # else the ten rows that are cut took part in routing the others
            assert rounds[0] == compute_alone(session, tokens, kept)[kept:]


# --- The compiler ---------------------------------------------------------------


@pytest.mark.parametrize("phase", ["input", "rondo"])
@each_way
def test_interpreter_equals_reference(tools: Tools, tmp_path: Path, way: str, phase: str) -> None:
    name, routing = WAYS[way]
    model, tokens = write_mor(tmp_path / "model", MODELS[name]), make_prompts()[3]
    module = tools.compile(model, tmp_path / "module.mlir", *routing, "--exact", "--trace-points",
                           f"--compile-to={phase}")
    save_file({"tokens": np.array(tokens, np.int32)}, tmp_path / "in")
    tools.run("rondo-interp", module, f"--archive={model / 'model.safetensors'}", f"--inputs={tmp_path / 'in'}",
              f"--outputs={tmp_path / 'out'}")
    trace: dict[str, np.ndarray] = {}
    want, got = load_way(tmp_path, way).logits(tokens, trace), load_file(tmp_path / "out")
    assert np.array_equal(got["depth"], trace["depth"])
    assert len(set(trace["depth"].tolist())) == MODELS[name].visits
    assert np.abs(got["logits"] - want).max() < 2e-5  # frequencies of rope are f32 in one of them


@each_way
def test_same_bundle_from_every_phase(tools: Tools, tmp_path: Path, way: str) -> None:
    name, routing = WAYS[way]
    model = write_mor(tmp_path / "model", MODELS[name])
    straight = tools.compile(model, tmp_path / "model.rondo", "-O0", "--trace-points", *routing,
                             f"--dump-phases={tmp_path / 'phases'}")
    dumps = sorted((tmp_path / "phases").glob("*.mlir"))
    assert len(dumps) == 6
    for dump in dumps:
        again = tools.compile(dump, tmp_path / "again.rondo", "-O0", f"--archive={model / 'model.safetensors'}")
        assert again.read_bytes() == straight.read_bytes(), f"{dump.name} compiles to another bundle"


def test_router_keeps_its_type(tools: Tools, tmp_path: Path) -> None:
    module = tools.compile(write_mor(tmp_path / "model", Routed()), tmp_path / "module.mlir", "--weights=q8_0",
                           "--compile-to=rondo")
    lines = module.read_text().splitlines()
    (router,) = [line for line in lines if "rondo.param @router " in line]
    assert "stored as" not in router
    assert any("stored as" in line for line in lines if "rondo.param @layers.q " in line)
    (product,) = [line for line in lines if "rondo.linear" in line and "[@router]" in line]
    assert "arithmetic(exact)" in product


@pytest.mark.parametrize("storage", ["bf16", "q8_0"])
@pytest.mark.parametrize("way", WAYS)
def test_other_storage(tools: Tools, tmp_path: Path, way: str, storage: str) -> None:
    """Against the reference on weights that are rounded to it, but routers."""
    bundle = compile_way(tools, tmp_path, way, "--exact", f"--weights={storage}", "--trace-points")
    kind = GGMLQuantizationType[storage.upper()]
    path = tmp_path / "model" / "model.safetensors"
    save_file({name: value if value.ndim == 1 or "router" in name else
               quants.dequantize(quants.quantize(value, kind), kind) for name, value in load_file(path).items()}, path)
    check_reference(load_way(tmp_path, way), run(tools, bundle, make_prompts()), make_prompts())


def test_routing_without_a_state_is_refused(tools: Tools, tmp_path: Path) -> None:
    """A dump that was edited: nothing stands where the attribute says the records do."""
    module = compile_way(tools, tmp_path, "causal", "--compile-to=tiled")
    text, count = re.subn(r'(scope = "row", state = )\d+', r"\g<1>77", module.read_text(), count=1)
    assert count == 1
    (tmp_path / "edited.mlir").write_text(text)
    with pytest.raises(AssertionError, match="'rondo_rt.routing' expected a scope and a state that a body reads"):
        tools.compile(tmp_path / "edited.mlir", tmp_path / "no.rondo",
                      f"--archive={tmp_path / 'model' / 'model.safetensors'}")


@pytest.mark.parametrize("model", [Routed(), Routed(shares_kv=True), replace(TOKEN, shares_kv=True)],
                         ids=["expert", "expert-shared", "token-shared"])
def test_visits_cost_little_code(tools: Tools, tmp_path: Path, model: Routed) -> None:
    """The loop stays one; what code there is for each visit compares a number."""
    sizes = []
    for visits in (4, 24):
        folder = write_mor(tmp_path / str(visits), replace(model, visits=visits))
        bundle = tools.compile(folder, tmp_path / f"{visits}.rondo")
        manifest = json.loads(tools.run("rondo-run", bundle, "--describe=json"))
        sizes.append(next(t["bytes"] for t in manifest["tensors"] if t["name"] == "code.cpu"))
    assert sizes[1] < 1.05 * sizes[0], sizes


# --- What is refused ------------------------------------------------------------


@pytest.fixture(scope="module")
def few_rows(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of each way whose steps have 20 rows."""
    folder = tmp_path_factory.mktemp("few-rows")
    return {way: compile_way(tools, folder / way, way, "--rows=20") for way in WAYS}


def refuse(tools: Tools, bundle: Path, *options: str) -> str:
    """What rondo-run says that exits with status 1."""
    command = [str(tools.folder / "rondo-run"), str(bundle), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, f"{' '.join(command)}\n{done.stderr}{done.stdout}"
    return done.stderr


@each_way
def test_depths_are_the_routers_matter(tools: Tools, few_rows: dict[str, Path], tmp_path: Path, way: str) -> None:
    bundle = few_rows[way]
    depth = "a router chooses the depth of each position of this model; leave the depth out"
    assert f"--depth: {depth}" in refuse(tools, bundle, "--tokens=1,2,3", "--depth=2")
    (tmp_path / "steps.json").write_text('{"sequences": [[1, 2]], "num_steps": [2]}')
    assert f"num_steps: {depth}" in refuse(tools, bundle, f"--tokens-file={tmp_path / 'steps.json'}")


@pytest.mark.parametrize("way", ["released", "released-shared"])
def test_rows_that_are_routed_together_have_one_depth(tools: Tools, few_rows: dict[str, Path], way: str) -> None:
    mixed = ("the model routes the positions of a prompt together, so they cannot be at different depths; run whole "
             "steps, or compile with --routing=causal")
    assert mixed in refuse(tools, few_rows[way], "--tokens=1,2,3", "--depthwise")
    with Model(Library(tools.folder), few_rows[way]) as loaded, Session(loaded, threads=1) as session:
        sequence = session.open()
        with pytest.raises(RuntimeError, match=mixed):
            session.prelude([row(sequence, 0, 1)])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("way", ["causal", "causal-shared", "token", "token-shared"])
def test_rows_at_mixed_depths(tools: Tools, tmp_path: Path, way: str, seed: int) -> None:
    """Rows that run their visits one by one, and leave the loop where the router does not let them through, have the
    bits of whole steps: by the depth-wise scheduler, and in calls that are drawn by chance."""
    rng = random.Random(seed)
    bundle = compile_way(tools, tmp_path, way, "-O0", f"--rows={rng.choice([3, 8, 16, 64])}", "--sequences=5",
                         f"--weights={rng.choice(['f32', 'bf16'])}")
    with Model(Library(tools.folder), bundle) as loaded, Session(loaded, threads=1 + seed % 2) as session:
        check_scheduler(session, rng, draw_prompts(rng, 7, VOCABULARY))
        assert check_walk(session, rng, draw_prompts(rng, 5, VOCABULARY)) > 1


@pytest.mark.parametrize("way", ["causal", "causal-shared", "token", "token-shared"])
def test_requests_that_come_and_go(tools: Tools, tmp_path: Path, way: str) -> None:
    """64 requests in random order, of which some are cancelled: the others' tokens and logits are those of each alone."""
    rng = random.Random(3)
    bundle = compile_way(tools, tmp_path, way, "-O0", "--rows=16", "--sequences=8")
    with Model(Library(tools.folder), bundle) as loaded, Session(loaded, threads=2) as session:
        prompts = [[rng.randrange(VOCABULARY) for _ in range(rng.choice([1, 3, 20, 40]))] for _ in range(64)]
        with Scheduler(session, rng.choice([0, 5]), DEPTHWISE) as scheduler:
            cancelled = set()
            for number, prompt in enumerate(prompts):
                scheduler.submit(prompt, rng.randint(1, 8))
                for _ in range(rng.randrange(12)):
                    scheduler.step()
                if rng.random() < 0.3:
                    unlucky = rng.randint(max(0, number - 6), number)
                    scheduler.cancel(unlucky)
                    cancelled.add(unlucky)
            while scheduler.step():
                pass
            kept = [request for request in range(64) if request not in cancelled]
            assert len(cancelled) > 8
            for request in kept:
                new = scheduler.tokens(request)
                want = compute_in_whole_steps(session, prompts[request] + new[:-1])
                assert [scheduler.logits[request, p] for p in range(len(want))] == want, f"request {request}"


@pytest.mark.parametrize("way", ["causal", "token"])
def test_depths_of_new_tokens(tools: Tools, tmp_path: Path, way: str) -> None:
    """`--output=json` says how many visits the row took that a token was drawn from, as the reference does."""
    bundle, prompts = compile_way(tools, tmp_path, way, "--exact"), make_prompts()
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"sequences": prompts}))
    model = load_way(tmp_path, way)
    for options in ([], ["--depthwise"]):
        done = tools.run("rondo-run", bundle, f"--tokens-file={tokens}", "--generate=6", "--stop=", "--output=json", *options)
        for prompt, result in zip(prompts, json.loads(done)["sequences"], strict=True):
            trace: dict[str, np.ndarray] = {}
            model.logits(prompt + result["tokens"][:-1], trace)
            assert result["depths"] == (trace["depth"][len(prompt) - 1 :] + 1).tolist()


def test_place_is_for_compiled_code(tools: Tools, few_rows: dict[str, Path]) -> None:
    with Model(Library(tools.folder), few_rows["causal"]) as loaded, Session(loaded, threads=1) as session:
        given = row(session.open(), 0, 1)
        given.place = 1
        with pytest.raises(RuntimeError, match="row 0 has kind 0, visit 0 and flags 0; a step runs full rows"):
            session.step([given], [0])


@pytest.mark.parametrize("way", ["released", "released-shared"])
def test_prompts_that_are_routed_whole(tools: Tools, few_rows: dict[str, Path], way: str) -> None:
    bundle, ten = few_rows[way], "--tokens=" + ",".join(["1"] * 10)
    assert ("the model routes the positions of a prompt together, so none can be cut into chunks of 7 tokens; leave "
            "the chunk at its default") in refuse(tools, bundle, ten, "--chunk=7")
    long = ("sequence 0: the model routes the positions of a prompt together, in one step, but there are 21 tokens and "
            "a step has 20 rows; compile with --rows=21 or give fewer tokens")
    assert long in refuse(tools, bundle, ten + ",1" * 11)
    assert long in refuse(tools, bundle, ten, "--generate=12", "--recompute", "--stop=")
    tools.run("rondo-run", bundle, ten, "--generate=11", "--recompute", "--stop=")
    tools.run("rondo-run", bundle, ten + ",1" * 10, "--generate=30", "--stop=")
    for shape in ("prefill:21", "prefill:4,decode:2,at:21"):
        assert ("--bench: the model routes the positions of a prompt together, in one step, but there are 21 positions "
                "and a step has 20 rows; measure fewer or compile with --rows=21") in refuse(
                    tools, bundle, f"--bench={shape},repeat:1")
    measured = json.loads(tools.run("rondo-run", bundle, "--bench=prefill:9,decode:2,at:20,batch:2,repeat:2"))
    assert measured["decode"]["tokens_per_second"]["median"] > 0


@pytest.mark.parametrize("way", [way for way in WAYS if not way.startswith("released")])
def test_prompts_that_are_routed_by_row(tools: Tools, few_rows: dict[str, Path], way: str) -> None:
    """None of that is asked of them."""
    (prompt,) = make_prompts(lengths=[49])
    want = tools.generate(few_rows[way], [prompt], NEW_TOKENS)
    assert tools.generate(few_rows[way], [prompt], NEW_TOKENS, "--chunk=7") == want
    assert tools.generate(few_rows[way], [prompt], NEW_TOKENS, "--recompute") == want


def test_keys_and_values_that_hold_for_one_step(tools: Tools, tmp_path: Path) -> None:
    """`update_cache`: sequences are scored whole, and recomputed for each new token."""
    model = ROOT / "test" / "oracles" / "mor" / "expert_middle_cycle_r3_kvshare_update"
    bundle = tools.compile(model, tmp_path / "model.rondo", "-O0", "--exact")
    said = refuse(tools, bundle, "--tokens=1,2,3", "--generate=2")
    assert "no new token can read them; recompute the sequence for each new token (rondo-run --recompute)" in said
    assert ("--bench: the keys and values that this model's router leaves hold for one step, so no step can continue a "
            "sequence; measure without decode") in refuse(tools, bundle, "--bench=prefill:4,decode:1,repeat:1")
    tools.run("rondo-run", bundle, "--bench=prefill:4,repeat:1")
    with Model(Library(tools.folder), bundle) as loaded, Session(loaded, threads=1) as session:
        sequence = session.open()
        session.step([row(sequence, 0, 1)], [0])
        with pytest.raises(RuntimeError, match="hold for one step; truncate it to 0 and give all its rows in one step"):
            session.step([row(sequence, 1, 2)], [0])


def test_interpreter_replaces_shared_keys(tools: Tools, tmp_path: Path) -> None:
    """The interpreter and the compiled model agree where visits replace the shared keys and values of their rows."""
    model = ROOT / "test" / "oracles" / "mor" / "expert_middle_cycle_r3_kvshare_update"
    prompts = make_prompts(lengths=[17])
    bundle = tools.compile(model, tmp_path / "model.rondo", "-O0", "--exact", "--trace-points")
    module = tools.compile(model, tmp_path / "module.mlir", "--compile-to=rondo", "--exact")
    save_file({"tokens": np.array(prompts[0])}, tmp_path / "in.safetensors")
    tools.run("rondo-interp", module, f"--archive={model / 'model.safetensors'}", f"--inputs={tmp_path / 'in.safetensors'}",
              f"--outputs={tmp_path / 'out.safetensors'}")
    assert_close(run(tools, bundle, prompts)["logits.0"], load_file(tmp_path / "out.safetensors")["logits"], "logits")
