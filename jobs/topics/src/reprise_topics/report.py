"""Saying how the topics are."""

from reprise_eventlog.kafka.topics import TopicState


def is_as_declared(state: TopicState) -> bool:
    """Return whether the topic is there now, as it is declared."""
    return not state.differences and (state.created or not state.missing)


def describe(state: TopicState) -> str:
    """Return one line about a topic."""
    name = state.topic.name
    if state.created:
        return f"{name}: created, {state.topic.partitions} partitions"
    if state.missing:
        return f"{name}: missing"
    if not state.differences:
        return f"{name}: as declared"
    differences = "; ".join(
        f"{each.setting} is {each.found}, declared {each.declared}" for each in state.differences
    )
    return f"{name}: differs and was left as it is: {differences}"
