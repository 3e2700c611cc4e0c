import copy

from support.chart import Release, render
from support.kubernetes_schemas import problems


def test_every_object_is_what_the_api_server_accepts(release: Release) -> None:
    found = {f"{each.kind} {each.name}": problems(each.raw) for each in release.manifests}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    deployment = copy.deepcopy(render("-f", "dev").find("Deployment", "reprise-predictor").raw)
    deployment["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    assert any("redinessProbe" in problem for problem in problems(deployment))


def test_a_field_that_strimzi_does_not_know_would_be_found() -> None:
    kafka = copy.deepcopy(render("-f", "dev").find("Kafka", "reprise-kafka").raw)
    kafka["spec"]["zookeeper"] = {}
    assert any("zookeeper" in problem for problem in problems(kafka))


def test_every_object_is_in_the_namespace_of_the_release_and_of_a_component(release: Release) -> None:
    assert {each.metadata.namespace for each in release.manifests} == {"reprise"}
    assert all(each.component for each in release.manifests)


def test_no_two_objects_have_one_name(release: Release) -> None:
    names = [(each.kind, each.name) for each in release.manifests]
    assert len(names) == len(set(names))
