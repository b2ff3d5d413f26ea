"""The shipped bundle in half precision and in int8 on its golden study: what a passport says of it here."""

from __future__ import annotations

import pytest

from runtime.bundle import open_bundle
from runtime.engines.kinds import OnnxRuntimeCpu
from runtime.qualify.issue import Wanted, qualify
from runtime.trust.document import Precision

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_folders")]


@pytest.mark.parametrize(("precision", "least_dice"), [("fp16", 0.995), ("int8", 0.99)])
def test_every_structure_is_as_in_float32(precision: Precision, least_dice: float) -> None:
    bundle = open_bundle(None)
    wanted = Wanted(precisions=(precision,), most_tries=8)
    passport = qualify(bundle, wanted, (OnnxRuntimeCpu(),)).passport
    (entry,) = [entry for entry in passport.entries if entry.precision == precision]
    assert entry.verdict == "passed", entry.reason
    (study,) = [case for case in entry.cases if case.structures]
    named = {structure.name for structure in bundle.manifest.structures if not structure.union_of}
    assert {item.structure for item in study.structures} == named - {"background"}
    assert min(item.dice for item in study.structures) >= least_dice
    assert bool(entry.kept_nodes) == (precision == "int8")  # as it is, int8 fails here and elsewhere
