# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exit rules on numbers worked out by hand, and their names."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from rondo.reference import CheckpointError
from rondo.reference.exit_rules import RULES, Act, Decision, Gate, Rule, Visit, exit_visit, parse

ZERO = np.zeros(2)


def units(*values: float, kind: type = np.float64) -> list[Visit]:
    """Visits after which a gate, a router or a halting unit says these values."""
    return [Visit(number, kind([0, 0]), kind([0, 0]), unit=kind(value)) for number, value in enumerate(values)]


def distributions(*values: Sequence[float]) -> list[Visit]:
    """Visits after which the probabilities of tokens are these."""
    return [Visit(number, ZERO, ZERO, logits=np.log(value)) for number, value in enumerate(values)]


def last_value(rule: Rule, visits: Sequence[Visit]) -> float:
    """What the rule compares after the last visit."""
    decision = Decision(False, math.nan)
    for visit in visits:
        decision = rule(visit, decision.memory)
    return decision.value


# --- Rules of a trained unit ------------------------------------------------------------------------------------------


# Tests the gate's sums, and that the last visit takes what is left.
@pytest.mark.parametrize(
    "hazards, sums, exits",
    [
        ((0.3, 0.3, 0.3), (0.3, 0.51, 0.657), {0.2: 0, 0.5: 1, 0.51: 1, 0.6: 2, 0.7: 3, 1.0: 3}),
        ((0.1, 0.6, 0.2), (0.1, 0.64, 0.712), {0.5: 1, 0.7: 2, 0.75: 3}),
    ],
)
def test_gate(hazards: tuple[float, ...], sums: tuple[float, ...], exits: dict[float, int]) -> None:
    visits = units(*hazards, 0.9)
    for count, reached in enumerate(sums, start=1):
        assert last_value(Gate(1.0), visits[:count]) == pytest.approx(reached, rel=0, abs=1e-15)
    assert {threshold: exit_visit(parse(f"gate:{threshold}"), visits) for threshold in exits} == exits


# Tests that a gate of exactly 1 does not exit at threshold 1, and that the sum is one of the rows' type.
def test_gate_at_one() -> None:
    assert exit_visit(parse("gate:1"), units(1.0, 1.0, 1.0)) == 2
    assert exit_visit(parse("gate:0.999"), units(1.0, 1.0, 1.0)) == 0
    assert last_value(Gate(0.5), units(0.3, 0.3, kind=np.float32)).dtype == np.float32
    assert exit_visit(parse("gate:0.1"), units(0.1, 0.1, kind=np.float32)) == 0


def test_delayed_gate() -> None:
    assert exit_visit(parse("gate-delayed:0.5"), units(0.3, 0.3, 0.3, 0.9)) == 2
    assert exit_visit(parse("gate-delayed:0.2"), units(0.3, 0.3, 0.3, 0.9)) == 1


# Tests LoopUS's two rules, whose comparison is strict, and the halting of TRM and HRM, whose unit is a sigmoid.
def test_halt() -> None:
    assert exit_visit(parse("halt:0.9"), units(0.5, 0.9, 0.95, 0.5)) == 2
    assert exit_visit(parse("halt-sum:0.9"), units(0.5, 0.5, 0.5, 0.5, 0.5)) == 3
    assert [last_value(parse("halt-sum"), units(*[0.5] * count)) for count in range(1, 5)] == [0.5, 0.75, 0.875, 0.9375]
    assert exit_visit(parse("halt-sum:0.9375"), units(*[0.5] * 6)) == 4

    def halts(unit: float) -> bool:
        return parse("halt:0.5")(*units(1 / (1 + math.exp(-unit))), None).exits

    assert halts(0.2 - 0.1) and halts(0.2) and not halts(-0.1) and not halts(0.0)


# Tests that a row goes on where the router's number is the threshold.
def test_router() -> None:
    assert exit_visit(parse("router"), units(0.5, 0.0, -0.01, 3.0)) == 2
    assert exit_visit(parse("router:-1.5"), units(-1.5, -2.0, 0.0)) == 1


def weights(rule: Act, *halting: float) -> tuple[list[float], int]:
    """Weights of the states of three visits in what is read out, and the visits made."""
    memory = None
    for number, (state, unit) in enumerate(zip(np.eye(3), halting, strict=True)):
        decision = rule(Visit(number, state, ZERO, unit=np.float64(unit)), memory)
        memory = decision.memory
        if decision.exits:
            break
    return decision.output.tolist(), number + 1


# Tests the two accumulations of ACT, and that a first visit above the threshold is read out alone.
def test_act() -> None:
    basic, accumulated = parse("act:0.99"), parse("act-accumulated")
    assert weights(basic, 0.4, 0.4, 0.4) == (pytest.approx([0.192, 0.32, 0.2], rel=0, abs=1e-15), 3)
    assert weights(accumulated, 0.4, 0.4, 0.4) == (pytest.approx([0.4, 0.4, 0.2], rel=0, abs=1e-15), 3)
    assert weights(basic, 0.995, 0.4, 0.4) == weights(accumulated, 0.995, 0.4, 0.4) == ([1.0, 0.0, 0.0], 1)


# Tests that the sum has to exceed the threshold, and that a row that never halts has no remainder.
def test_act_at_its_threshold() -> None:
    assert weights(parse("act-accumulated:0.75"), 0.5, 0.25, 0.25) == ([0.5, 0.25, 0.25], 3)
    assert weights(parse("act-accumulated"), 0.25, 0.25, 0.25) == ([0.25, 0.25, 0.25], 3)


# --- Rules of logits --------------------------------------------------------------------------------------------------

BEFORE, AFTER = (0.7, 0.2, 0.1), (0.6, 0.3, 0.1)


@pytest.mark.parametrize(
    "text, values, exits",
    [
        ("confidence:0.7", (0.7, 0.6), False),
        ("margin:0.29", (0.5, 0.3), True),
        ("kl:1e-3", (0.3242870, 0.0268125), False),
        ("kl:0.03", (0.3242870, 0.0268125), True),
        ("entropy:1e-3", (99.1981814, 0.0961272), False),
        ("entropy:0.1", (99.1981814, 0.0961272), True),
    ],
)
def test_rules_of_logits(text: str, values: tuple[float, float], exits: bool) -> None:
    rule, visits = parse(text), distributions(BEFORE, AFTER)
    assert last_value(rule, visits[:1]) == pytest.approx(values[0], rel=0, abs=5e-8)
    assert last_value(rule, visits) == pytest.approx(values[1], rel=0, abs=5e-8)
    assert rule(visits[1], rule(visits[0], None).memory).exits is exits


# Tests that the divergence is from the visit before to this one.
def test_direction_of_kl() -> None:
    assert last_value(parse("kl"), distributions(AFTER, BEFORE)) == pytest.approx(0.0291491, rel=0, abs=5e-8)


# Tests that confidence and margin exit where they equal the threshold, and that two best tokens have no margin.
def test_comparisons_of_confidence() -> None:
    half = distributions((0.5, 0.25, 0.25))[0]
    assert parse("confidence:0.5")(half, None) == Decision(True, 0.5)
    assert parse("margin:0.25")(half, None) == Decision(True, 0.25)
    assert parse("margin:0.25")(distributions((0.4, 0.4, 0.2))[0], None) == Decision(False, 0.0)


# Tests that equal distributions, whose divergence and difference are 0, exit.
def test_same_distributions() -> None:
    for name in ("kl", "entropy"):
        assert exit_visit(parse(name), distributions(BEFORE, BEFORE, BEFORE)) == 1


# Tests that the sixth visit is the first to exit, that a change starts the count again, and that ties take the first.
def test_stable_argmax() -> None:
    assert exit_visit(parse("stable-argmax:5"), distributions(*[BEFORE] * 8)) == 5
    other = (0.1, 0.8, 0.1)
    assert exit_visit(parse("stable-argmax:2"), distributions(BEFORE, BEFORE, other, other, other, other)) == 4
    assert exit_visit(parse("stable-argmax:1"), distributions((0.4, 0.4, 0.2), BEFORE, BEFORE)) == 1


# --- Rules of states and of the visit's number ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, value, exits",
    [
        ("latent-diff:0.03", 0.0387492, False),
        ("latent-diff:0.04", 0.0387492, True),
        ("cosine:1e-3", 2.70307e-4, True),
        ("cosine:2e-4", 2.70307e-4, False),
    ],
)
def test_rules_of_states(text: str, value: float, exits: bool) -> None:
    decision = parse(text)(Visit(0, np.array([3, 4.2]), np.array([3.0, 4.0])), None)
    assert decision.value == pytest.approx(value, rel=0, abs=5e-8)
    assert decision.exits is exits


@pytest.mark.parametrize("name", ["latent-diff", "cosine"])
def test_states_of_zeros(name: str) -> None:
    assert not parse(name)(Visit(0, ZERO, ZERO), None).exits


# Tests that a comparison with NaN does not exit.
@pytest.mark.parametrize("name", [name for name in RULES if name not in ("step", "stable-argmax")])
def test_nan(name: str) -> None:
    nan = np.array([math.nan, math.nan])
    assert not parse(f"{name}:0.5")(Visit(0, nan, nan, nan, np.float64(math.nan)), None).exits


def test_step_and_none() -> None:
    assert [exit_visit(parse(text), units(1, 1, 1, 1)) for text in ("step:0", "step:2", "none")] == [0, 2, 3]


# --- Names ------------------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    defaults = {name: parse(name).threshold for name, entry in RULES.items() if entry.default is not None}
    assert defaults == {
        "router": 0.0,
        "latent-diff": 0.03,
        "kl": 5e-4,
        "entropy": 1e-3,
        "stable-argmax": 5.0,
        "act": 0.99,
        "act-accumulated": 0.99,
        "cosine": 1e-3,
        "halt": 0.9,
        "halt-sum": 0.9,
    }
    assert parse("kl:5e-4") == parse("kl") and parse("act") != parse("act-accumulated")


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "patience:3",
            r"exit rule 'patience' is not known; known: none, gate, router, confidence, margin, latent-diff",
        ),
        ("", r"exit rule '' is not known"),
        ("none:1", r"exit rule 'none' takes no threshold, got '1'; write 'none'"),
        ("gate", r"exit rule 'gate' has no default threshold; write gate:VALUE with a number above 0$"),
        ("confidence", r"write confidence:VALUE with a number above 0 and up to 1$"),
        ("gate:0", r"exit rule 'gate' takes a number above 0, got '0'"),
        ("kl:", r"exit rule 'kl' takes a number above 0, got ''"),
        ("kl:nan", r"exit rule 'kl' takes a number above 0, got 'nan'"),
        ("latent-diff:inf", r"exit rule 'latent-diff' takes a number above 0, got 'inf'"),
        ("margin:1.5", r"exit rule 'margin' takes a number above 0 and up to 1, got '1.5'"),
        ("router:x", r"exit rule 'router' takes a finite number, got 'x'"),
        ("stable-argmax:2.5", r"exit rule 'stable-argmax' takes a whole number from 1, got '2.5'"),
        ("step:-1", r"exit rule 'step' takes a whole number from 0, got '-1'"),
    ],
)
def test_bad_rule(text: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        parse(text)
