"""Whether the event log is reachable and has the declared topics."""

from collections.abc import Callable, Sequence

from reprise.doctor.check import CheckFailedError, Observation, Remedy, ReportProgress
from reprise.log import EVENTS, EventLogError
from reprise.log.topics import TopicStatus

LOG = Remedy(
    "see whether its brokers run, and whether address, user, password and network policy allow access "
    "(KAFKA_SERVERS, KAFKA_USERNAME, …; without Kafka REPRISE_LOG_DIR)",
    "the-log-is-away",
)
TOPICS = Remedy(
    "run `reprise topics`, which creates missing topics; change the others, or their declaration",
    "topics-are-not-as-declared",
)
EMBEDDED = Remedy(
    "nothing was ever written to this log: set REPRISE_LOG_DIR to the folder that the other processes use",
    TOPICS.section,
)


def check_log(reach: Callable[[], str]) -> Observation:
    """Connect to the log."""
    try:
        return Observation(reach())
    except EventLogError as error:
        raise CheckFailedError(str(error), LOG) from error


def check_topics(
    inspect: Callable[[], Sequence[TopicStatus]], *, embedded: bool, report: ReportProgress
) -> Observation:
    """Compare the topics with their declaration, as ``reprise topics`` does.

    The embedded log creates a topic on first use, so there only the events' topic must exist.
    """
    report("comparing topics with their declaration")
    try:
        states = inspect()
    except EventLogError as error:
        raise CheckFailedError(str(error), LOG) from error
    wrong = [state for state in states if not state.is_as_declared]
    if embedded:
        wrong = [state for state in wrong if state.differences or state.topic.name == EVENTS.name]
    if wrong:
        found = "; ".join(state.describe() for state in wrong)
        raise CheckFailedError(found, EMBEDDED if embedded else TOPICS)
    existing = [f"{state.topic.name} ({state.topic.partitions})" for state in states if not state.missing]
    return Observation(f"as declared, with partitions: {', '.join(existing)}")
