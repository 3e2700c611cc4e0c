"""The operator: what kopf is told, and nothing else."""

from typing import Any

import kopf

from reprise.rollout.reconcile_loop import Rollouts
from reprise.rollout.resource.crd import GROUP, PLURAL, VERSION


def build_registry(rollouts: Rollouts) -> kopf.OperatorRegistry:
    """Return the handlers.

    Only events are handled, because kopf puts no finalizer on a resource for them: a finalizer would keep the resource,
    and its namespace, from being deleted once the operator is gone. What a finalizer would be for, releasing the
    predictors, is done by whichever look finds the resource missing.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_via_client(**kwargs)

    @kopf.on.startup(registry=registry)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        # One namespace and one known resource: nothing to discover, and no right to discover it is needed.
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.watching.server_timeout = 300
        await rollouts.start()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def happened(name: str | None, **_: Any) -> None:
        if name is not None:
            rollouts.wake(name)

    # An error is the answer of /healthz: it is not to be tried again, as kopf does by itself.
    @kopf.on.probe(id="looks", errors=kopf.ErrorsMode.PERMANENT, registry=registry)
    async def looks(**_: Any) -> str:
        rollouts.check()
        return "taken"

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        await rollouts.stop()

    return registry
