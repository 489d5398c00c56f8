# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Running a model over all sequences of its inputs, with names as `rondo-run` gives them."""

from __future__ import annotations

from rondo.reference.albert import Albert
from rondo.reference.decoder import Decoder, Trace
from rondo.reference.inputs import Inputs

Model = Decoder | Albert


def evaluate(model: Model, inputs: Inputs) -> tuple[Trace, Trace]:
    """Outputs and traced tensors of all sequences: `<kind>.<sequence>`, `<kind>.<sequence>.<index>`.

    Raises CheckpointError for inputs that the model does not take.
    """
    model = model.prepared(inputs)
    outputs: Trace = {}
    traced: Trace = {}
    for number in range(len(inputs.sequences)):
        trace: Trace = {}
        found = model.outputs(inputs, number, trace)
        outputs |= {numbered(name, number): value for name, value in found.items()}
        traced |= {numbered(name, number): value for name, value in trace.items()}
    return outputs, traced


def numbered(name: str, sequence: int) -> str:
    """`kind.index` of one sequence to `kind.<sequence>.index`."""
    kind, *index = name.split(".")
    return ".".join([kind, str(sequence), *index])
