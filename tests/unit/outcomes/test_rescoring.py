import warnings

from reprise.bundle import Bundle, Manifest
from reprise.outcomes.comparison.rescored_predictions import Scorer
from support.served_bundles import bundle_files


def test_an_amount_beyond_single_precision_is_scored_as_the_predictor_does() -> None:
    files = bundle_files(weights={"request_amount": 1.0})
    manifest = Manifest.from_bytes(files.manifest)
    bundle = Bundle(digest=files.digest, manifest=manifest, model=files.model, metadata={})
    row: dict[str, float | None] = dict.fromkeys(manifest.input_names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = Scorer(bundle).score([row | {"request_amount": 1e39}, row | {"request_amount": 0.0}])
    assert scores.tolist() == [1.0, 0.5]
