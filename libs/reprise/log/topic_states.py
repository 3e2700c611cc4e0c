"""How declared topics are found, in words."""

from dataclasses import dataclass

from reprise.log.topics import Topic


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting in which a topic is not as declared."""

    setting: str
    declared: str
    found: str


@dataclass(frozen=True, slots=True)
class TopicState:
    """What was found, or done, about a declared topic.

    Attributes:
        topic: The declaration.
        missing: It was not there.
        created: It was not there, and is now.
        differences: In what it differs from the declaration; nothing of this was changed.
    """

    topic: Topic
    missing: bool = False
    created: bool = False
    differences: tuple[Difference, ...] = ()

    @property
    def is_as_declared(self) -> bool:
        """Whether the topic is there now, as it is declared."""
        return not self.differences and (self.created or not self.missing)

    def describe(self) -> str:
        """Return one line about the topic."""
        name = self.topic.name
        if self.created:
            return f"{name}: created, {self.topic.partitions} partitions"
        if self.missing:
            return f"{name}: missing"
        if not self.differences:
            return f"{name}: as declared"
        differences = "; ".join(
            f"{each.setting} is {each.found}, declared {each.declared}" for each in self.differences
        )
        return f"{name}: differs and was left as it is: {differences}"
