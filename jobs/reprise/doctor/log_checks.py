"""Whether the log answers, and has the topics that are declared."""

from collections.abc import Callable, Sequence

from reprise.doctor.check import Say, Seen
from reprise.doctor.exceptions import CheckFailedError
from reprise.log import EVENTS, EventLogError
from reprise.log.topics import TopicStatus

SECTION = "the-log-is-away"
TOPICS_SECTION = "topics-are-not-as-declared"
ADVICE = (
    "see whether its brokers run, and whether address, user, password and network policy lead there "
    "(KAFKA_SERVERS, KAFKA_USERNAME, …; without Kafka REPRISE_LOG_DIR)"
)
TOPICS_ADVICE = (
    "run `reprise topics`, which makes what is missing; change the others yourself, or their declaration"
)


def look_at_log(reach: Callable[[], str]) -> Seen:
    """Ask the log for a sign of life.

    Raises:
        CheckFailedError: There is none.
    """
    try:
        return Seen(reach())
    except EventLogError as error:
        raise CheckFailedError(str(error), ADVICE, SECTION) from error


def look_at_topics(inspect: Callable[[], Sequence[TopicStatus]], *, embedded: bool, say: Say) -> Seen:
    """Compare the topics with their declaration, as ``reprise topics`` does.

    The embedded log makes a topic when it is first used, so of that only the events are missed.

    Raises:
        CheckFailedError: One is missing, or differs.
    """
    say("comparing topics with their declaration")
    try:
        states = inspect()
    except EventLogError as error:
        raise CheckFailedError(str(error), ADVICE, SECTION) from error
    wrong = [state for state in states if not state.is_as_declared]
    if embedded:
        wrong = [state for state in wrong if state.differences or state.topic.name == EVENTS.name]
    if wrong:
        said = "; ".join(state.describe() for state in wrong)
        advice = _EMBEDDED_ADVICE if embedded else TOPICS_ADVICE
        raise CheckFailedError(said, advice, TOPICS_SECTION)
    there = [f"{state.topic.name} ({state.topic.partitions})" for state in states if not state.missing]
    return Seen(f"as declared, with partitions: {', '.join(there)}")


_EMBEDDED_ADVICE = (
    "nothing was ever written to this log: give the folder that the other processes use, REPRISE_LOG_DIR"
)
