import json

import pytest

from reprise.routing import (
    BUCKETS,
    Arm,
    CandidateEvidence,
    InvalidRoutingError,
    RoutingDocument,
    Share,
    allocate,
    document_key,
    evidence_key,
)
from reprise.routing.document import MAX_BYTES

BASE = "sha256:" + "a" * 64
NEW = "sha256:" + "b" * 64


def document(*shares: Share) -> RoutingDocument:
    return RoutingDocument(generation=7, rollout="shop/repurchase", salt="s", arms=allocate(BASE, shares, {}))


def broken(change) -> str:
    content = json.loads(document(Share("b", NEW, 500)).to_bytes())
    change(content)
    with pytest.raises(InvalidRoutingError) as caught:
        RoutingDocument.from_bytes(json.dumps(content))
    return str(caught.value)


def test_what_is_written_is_read_back():
    written = document(Share("b", NEW, 500), Share("watch", NEW, 0, shadow=True))
    assert RoutingDocument.from_bytes(written.to_bytes()) == written


def test_document_has_these_bytes():
    assert document(Share("b", NEW, 500)).to_bytes() == (
        b'{"schema_version":1,"generation":7,"rollout":"shop/repurchase","salt":"s","arms":['
        b'{"name":"baseline","digest":"'
        + BASE.encode()
        + b'","weight":9500,"shadow":false,"buckets":[[500,10000]]},'
        b'{"name":"b","digest":"' + NEW.encode() + b'","weight":500,"shadow":false,"buckets":[[0,500]]}]}'
    )


def test_the_fingerprint_tells_documents_of_one_generation_apart():
    one, other = document(Share("b", NEW, 500)), document(Share("b", NEW, 501))
    assert one.generation == other.generation
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == RoutingDocument.from_bytes(one.to_bytes()).fingerprint


def test_a_document_of_any_shares_is_within_the_maximum_and_a_larger_one_is_not_parsed():
    digests = [f"sha256:{number:064x}" for number in range(32)]
    arms = [
        Arm(
            name="baseline" if number == 0 else f"{number:0>63}",
            digest=digest,
            weight=len(buckets),
            buckets=tuple((bucket, bucket + 1) for bucket in buckets),
        )
        for number, digest in enumerate(digests)
        for buckets in [range(number, BUCKETS, 32)]
    ]
    largest = RoutingDocument(generation=10**18, rollout="r" * 317, salt="s" * 253, arms=tuple(arms))
    data = largest.to_bytes()
    assert 100_000 < len(data) < MAX_BYTES
    assert RoutingDocument.from_bytes(data) == largest
    padded = data + b" " * (MAX_BYTES - len(data))
    assert RoutingDocument.from_bytes(padded) == largest
    with pytest.raises(InvalidRoutingError, match="262,145 bytes; the maximum is 262,144"):
        RoutingDocument.from_bytes(padded + b" ")


def test_the_problems_of_a_document_are_told_up_to_ten():
    def change(content) -> None:
        content.update({f"field-{number}": number for number in range(1000)})

    assert len(broken(change)) < 1000
    assert broken(change).endswith("and 990 more")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda d: d.update(schema_version=2), "schema_version"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d.pop("salt"), "salt"),
        (lambda d: d.update(generation="7"), "generation"),
        (lambda d: d["arms"][1].update(digest="latest"), "arms.1.digest"),
        (lambda d: d["arms"][1].update(name="No Label"), "arms.1.name"),
        (lambda d: d["arms"][1].update(weight=499), "arms.1: buckets: hold 500"),
        (lambda d: d["arms"][1].update(weight=500.5), "arms.1.weight"),
        (lambda d: d["arms"][1].update(shadow=True), "arms.1: weight: a shadow answers nobody"),
        (lambda d: d["arms"][1].update(name="baseline"), "arms: baseline occurs twice"),
        (lambda d: d["arms"].pop(), "arms: weights add up to 9500"),
        (lambda d: d["arms"][1].update(buckets=[[400, 900]]), "arms: buckets 0 to 400 belong to no arm"),
        (
            lambda d: d["arms"][1].update(buckets=[[0, 400], [900, 1000]]),
            "arms: buckets 400 to 500 belong to no",
        ),
        (lambda d: d["arms"][1].update(buckets=[[5, 5], [0, 500]]), "arms.1: buckets: [5, 5] is empty"),
        (lambda d: d["arms"][1].update(buckets=[[500, 1000]]), "arms: buckets 0 to 500 belong to no arm"),
        (lambda d: d["arms"][0].update(buckets=[[0, 9500]]), "belong to two arms"),
    ],
)
def test_a_broken_document_names_the_field(change, names):
    assert names in broken(change)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff"])
def test_invalid_json_is_refused(data):
    with pytest.raises(InvalidRoutingError, match="invalid routing document"):
        RoutingDocument.from_bytes(data)


def test_an_interval_encloses_its_estimate():
    with pytest.raises(ValueError, match="is not between"):
        CandidateEvidence(
            candidate="b", candidate_digest=NEW, baseline_digest=BASE, verdict="better", metric="m",
            estimate=1.0, lower=-1.0, upper=0.5, alpha=0.05, baseline_n=1, candidate_n=1,
        )  # fmt: skip


def test_redis_keys_are_distinct_per_project_and_kind():
    assert document_key("shop") == "routing:shop:document"
    assert len({document_key("a"), document_key("b"), evidence_key("a"), evidence_key("b")}) == 4
    assert BUCKETS == 10_000
