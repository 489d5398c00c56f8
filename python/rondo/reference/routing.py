# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How tokens are routed to depths: which rows a depth computes, and what their results are multiplied by.

Expert choice has one router a depth, which chooses among the rows that the depth before chose:

    a = router_r(x / temperature);  s = alpha * sigmoid(a), alpha * tanh(a), or a itself
    released:  the k = max(1, int(c_r * N)) rows of greatest s, N rows in this call; the earlier one of equals
    causal:    the rows with a >= 0 (b >= 0 for b = auxiliary_r(x), where there are second routers)

Token choice has one router with a logit for each depth, and every row goes through depths 0 .. d:

    s = alpha * softmax(a) or alpha * sigmoid(a);  d = argmax(s + bias), the lower one of equals

Gates are s (of depth d with token choice), or 1 where gating is additive.

The released rule is what the authors' code does, in evaluation too: it looks at later tokens, and a call with a single
token runs all depths. The causal rule is the one that the auxiliary loss or the second router is trained for; there it
only measures an accuracy, and for logits without a function it compares them with 0.5 although the loss does with 0.

Source: arXiv 2507.10524, section 2.2 and appendix; github.com/raymin0223/mixture_of_recursions, `model/mor_model`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Array, sigmoid, softmax

Rows = NDArray[np.integer]
# From states [N, d] to logits [N, outputs].
Router = Callable[[Array], Array]

RULES = ("released", "causal")
# By `router_func`. With null in expert choice the logits are the scores, and alpha means nothing.
EXPERT_FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {"sigmoid": sigmoid, "tanh": np.tanh}
TOKEN_FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {"softmax": softmax, "sigmoid": sigmoid}


@dataclass(frozen=True)
class Scoring:
    """What becomes of logits: `alpha` times a function of them, and whether that is the gate too."""

    function: str | None
    alpha: float
    temperature: float  # of the router's input
    weighted: bool  # additive otherwise

    def logits(self, router: Router, x: Array) -> Array:
        """x [N, d] -> [N, outputs]."""
        return router(x / x.dtype.type(self.temperature))

    def gates(self, scores: Array) -> Array:
        """The scores, or ones."""
        return scores if self.weighted else np.ones_like(scores)


@dataclass(frozen=True)
class ExpertChoice:
    """Each depth chooses its rows, by one of RULES. `auxiliary` are the second routers, if there are any.

    Without `has_threshold` nothing trained the sign of a logit to say whether its row goes on.
    """

    routers: tuple[Router, ...]  # by depth, as the next two
    capacities: tuple[float, ...]  # c, parts of the rows of a call
    auxiliary: tuple[Router, ...]
    scoring: Scoring
    has_threshold: bool = True
    rule: str = "released"

    def with_rule(self, rule: str) -> ExpertChoice:
        """The same routers under another of RULES. Raises CheckpointError for one that was not trained."""
        if rule not in RULES:
            raise CheckpointError(f"routing '{rule}' is not known; expected one of: {', '.join(RULES)}")
        if rule == "causal" and not self.has_threshold:
            raise CheckpointError(
                "'mor.expert.sampling' is null, so no threshold was trained that causal routing could use; "
                "use released routing"
            )
        return dataclasses.replace(self, rule=rule)

    def logits(self, depth: int, x: Array) -> Array:
        """x [n, d] -> [n]."""
        return self.scoring.logits(self.routers[depth], x)[:, 0]

    def choose(self, depth: int, x: Array, logits: Array, call_rows: int) -> tuple[Rows, Array]:
        """Which of the rows x [n, d] with these logits [n] go on, ascending, and their gates.

        `call_rows` is the number of rows of the whole call, N.
        """
        scores = self.scores(logits)
        if self.rule == "released":
            chosen = top(scores, count(self.capacities[depth], call_rows))
        elif depth == 0 and self.capacities[0] == 1:
            chosen = np.arange(len(x))
        else:
            signs = self.auxiliary[depth](x)[:, 0] if self.auxiliary else logits
            chosen = np.flatnonzero(signs >= 0)
        return chosen, self.scoring.gates(scores[chosen])

    def scores(self, logits: Array) -> Array:
        """Of logits [n]."""
        if self.scoring.function is None:
            return logits
        return logits.dtype.type(self.scoring.alpha) * EXPERT_FUNCTIONS[self.scoring.function](logits)


@dataclass(frozen=True)
class TokenChoice:
    """Each row chooses its last depth. `bias` [R] takes part in the choice and not in the gate."""

    router: Router
    bias: Array | None
    scoring: Scoring

    def choose(self, x: Array) -> tuple[Array, Rows, Array]:
        """x [N, d] to logits [N, R], last depths [N] and gates [N]."""
        logits = self.scoring.logits(self.router, x)
        scores = logits.dtype.type(self.scoring.alpha) * TOKEN_FUNCTIONS[self.scoring.function](logits)
        last = np.argmax(scores if self.bias is None else scores + self.bias, axis=-1)
        return logits, last, self.scoring.gates(scores[np.arange(len(x)), last])


def count(capacity: float, rows: int) -> int:
    """How many of `rows` a depth computes: at least one. In float64, whatever the type of the model."""
    return max(1, int(capacity * rows))


def top(scores: Array, number: int) -> Rows:
    """The indices of the `number` greatest scores [n], ascending; of equal ones the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:number])


def default_capacities(visits: int) -> tuple[float, ...]:
    """(R - r) / R for r from 0."""
    return tuple((visits - depth) / visits for depth in range(visits))
