"""Running the checks with the settings' installation."""

from collections.abc import Collection
from contextlib import ExitStack

from reprise_features.plan import Plan

from reprise_doctor.check import Result
from reprise_doctor.checklist import checklist
from reprise_doctor.installation import Installation, clients
from reprise_doctor.running import chosen, run_checks
from reprise_doctor.services import Predictor, Service
from reprise_doctor.settings import DoctorSettings
from reprise_doctor.store import DoctorStore
from reprise_doctor.waiting import waiting


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
