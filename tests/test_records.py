"""The nouns: what they become in JSON."""

import json
import math

from evomerge.records import Estimate


def test_a_standard_error_that_nobody_knows_is_null_in_json() -> None:
    alone = Estimate.of([1.0])
    assert math.isnan(alone.se)
    assert json.loads(json.dumps(alone.to_json(), allow_nan=False)) == {
        "mean": 1.0,
        "se": None,
        "n": 1,
    }
