"""Running the checks with the settings' installation."""

from collections.abc import Collection
from contextlib import ExitStack

from reprise.doctor.check import Result
from reprise.doctor.checklist import checklist
from reprise.doctor.installation import Installation, clients
from reprise.doctor.running import chosen, run_checks
from reprise.doctor.services import Predictor, Service
from reprise.doctor.settings import DoctorSettings
from reprise.doctor.store import DoctorStore
from reprise.doctor.waiting import waiting
from reprise.features.plan import Plan


def examine(settings: DoctorSettings, only: Collection[str], skip: Collection[str]) -> list[Result]:
    """Return what came of each check that is asked for.

    Args:
        settings: Where everything is.
        only: Names of the checks to run; all if empty.
        skip: Names of the checks to leave out.

    Raises:
        UnknownCheckError: A name is that of no check.
        PlanError: The plan cannot be read.
        StoreRefusedError: The file of authorities for Redis is no PEM file.
    """
    plan = Plan.load(settings.plan)
    with ExitStack() as stack:
        store = stack.enter_context(DoctorStore.connect(settings))
        to_predictor, to_producer = (client and stack.enter_context(client) for client in clients(settings))
        assert to_predictor is not None
        producer = None if to_producer is None else Service("the producer", to_producer)
        installation = Installation(settings, plan, store, Predictor(to_predictor), producer)
        checks = chosen(checklist(installation), only, skip)
        tell = stack.enter_context(waiting())
        return list(run_checks(checks, tell))
