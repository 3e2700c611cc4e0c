"""Metrics of every component, without their help texts."""

from prometheus_client import CollectorRegistry

from golden.installed import clean_environment
from support.metrics_catalogue import OF_THE_PROCESS, described, registries


def metrics() -> str:
    lines = []
    with clean_environment():
        for component, registry in sorted(registries().items()):
            lines.append(component)
            lines += [
                f"  {metric.kind} {metric.name}{{{', '.join(metric.labels)}}}"
                for metric in described(registry)
                if not metric.name.startswith(OF_THE_PROCESS)
            ]
            lines += [f"  {label}={value}" for label, value in _identity(registry)]
            lines += [f"  buckets {name}: {bounds}" for name, bounds in _buckets(registry)]
    return "\n".join(lines) + "\n"


def _identity(registry: CollectorRegistry) -> list[tuple[str, str]]:
    """Return the name that a component gives itself in its metrics."""
    samples = [s for family in registry.collect() for s in family.samples if s.name.endswith("build_info")]
    return [("package", sample.labels["package"]) for sample in samples]


def _buckets(registry: CollectorRegistry) -> list[tuple[str, str]]:
    """Return the upper bounds of each histogram, which queries name as ``le``."""
    found = {}
    for collector in list(registry._collector_to_names):
        bounds = getattr(collector, "_kwargs", {}).get("buckets")
        if bounds:
            found[collector._name] = " ".join(f"{bound:g}" for bound in bounds)
            continue
        for family in collector.collect():
            own = dict.fromkeys(sample.labels["le"] for sample in family.samples if "le" in sample.labels)
            found |= {family.name: " ".join(own)} if own else {}
    return sorted(found.items())
