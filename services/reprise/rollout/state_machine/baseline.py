"""Which model is the baseline."""

from datetime import datetime

from reprise.rollout.resource.events import Note
from reprise.rollout.resource.spec import RolloutSpec
from reprise.rollout.resource.status import BaselineStatus, HistoryEntry, RolloutStatus, at
from reprise.rollout.state_machine.candidate import Moment


def follow_spec(
    spec: RolloutSpec, status: RolloutStatus, now: datetime
) -> tuple[BaselineStatus, tuple[Note, ...], tuple[HistoryEntry, ...]]:
    """Return the baseline that serves, the spec considered.

    A promotion wins over the spec that it happened under, and a later change of the spec wins over the promotion. So a
    repository of manifests may be left as it is after a promotion, or follow it, and nothing moves.
    """
    asked, serving = spec.baseline.digest, status.baseline
    if serving is None:
        return BaselineStatus(digest=asked, spec_digest=asked, since=at(now)), (), ()
    if asked == serving.spec_digest:
        return serving, (), ()
    if asked == serving.digest:
        return serving.model_copy(update={"spec_digest": asked}), (), ()
    changed = BaselineStatus(digest=asked, spec_digest=asked, since=at(now), previous=serving.digest)
    message = f"the spec's baseline is {asked} now"
    entry = HistoryEntry(
        time=at(now),
        event="BaselineChanged",
        digest=asked,
        baseline=serving.digest,
        by="Spec",
        message=message,
    )
    return changed, (Note("Normal", "BaselineChanged", message),), (entry,)


def promoted(serving: BaselineStatus, digest: str, now: datetime) -> BaselineStatus:
    """Return the baseline after a promotion."""
    return BaselineStatus(
        digest=digest, spec_digest=serving.spec_digest, since=at(now), previous=serving.digest
    )


def restored(
    serving: BaselineStatus, moment: Moment
) -> tuple[BaselineStatus, tuple[Note, ...], tuple[HistoryEntry, ...]]:
    """Return the baseline before the one that serves, as a person asked for."""
    if serving.previous is None:
        note = Note("Warning", "RequestRefused", "rollback=baseline: there is no baseline before this one")
        return serving, (note,), ()
    back = BaselineStatus(
        digest=serving.previous,
        spec_digest=serving.spec_digest,
        since=at(moment.now),
        previous=serving.digest,
    )
    message = f"{serving.previous} is the baseline again"
    entry = HistoryEntry(
        time=at(moment.now),
        event="BaselineRestored",
        digest=serving.previous,
        baseline=serving.digest,
        by="Annotation",
        message=message,
    )
    return back, (Note("Warning", "BaselineRestored", message),), (entry,)
