"""What a person on call does: sees an alert, looks, runs the runbook's commands, sees the alert clear.

A command of the runbook is one that stands in ``docs/operations.md``: a test that runs it fails once it is not there.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from e2e.support.cluster import ROOT, CommandError
from e2e.support.watched_cluster import WatchedPlatform
from support.waiting import wait_until

Open = Callable[[str], "OnCall"]
"""The fixture ``on_call``: opens an incident by the heading of the runbook's section."""

ONLY_WITH_ALL = pytest.mark.skipif(
    os.environ.get("REPRISE_INCIDENTS") != "all", reason="made only with REPRISE_INCIDENTS=all"
)
"""Mark of incidents that take longer than those of every run."""

LAG = "kafka-consumer-groups --bootstrap-server $KAFKA_SERVERS --describe --group materializer"
"""The runbook's command that shows the materializers' lag."""

RUNBOOK = ROOT / "docs/operations.md"
TRANSCRIPTS = ROOT / "build/incidents"


@dataclass
class OnCall:
    """One incident, from its beginning to its end; every step is written down, with the seconds since it began."""

    watched: WatchedPlatform
    section: str
    _lines: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def note(self, text: str) -> None:
        self._lines.append(f"[{time.monotonic() - self._began:6.1f} s] {text}")

    def happens(self, what: str, cause: Callable[[], object]) -> None:
        self._began = time.monotonic()
        self.note(f"made: {what}")
        cause()

    def sees(self, *alerts: str, seconds: float = 90) -> None:
        """Wait until alerts fire, so long for each."""
        for alert in alerts:
            firing = wait_until(f"{alert} fires", partial(self.watched.firing, alert), seconds, every=0.3)
            self.note(f"FIRING {alert}: {firing[0]['annotations']['description']}")

    def sees_cleared(self, *alerts: str, seconds: float = 120) -> None:
        """Wait until alerts fire no more, so long for each."""
        for alert in alerts:
            wait_until(
                f"{alert} clears", lambda name=alert: not self.watched.firing(name), seconds, every=0.3
            )
            self.note(f"CLEARED {alert}")

    def looks(self, command: str) -> str:
        """Run a command that a person would look with, and return what it prints."""
        printed = self._run(command)
        self.note(f"$ {command}\n{_shortened(printed)}")
        return printed

    def runs(self, command: str) -> str:
        """Run a command of the runbook's section, and return what it prints."""
        self._check_runbook(command)
        return self.looks(command)

    def runs_with_kafka(self, command: str) -> str:
        """Run a command of the section with Kafka's programs, which the pod of the broker has."""
        self._check_runbook(command)
        inside = ("exec", "kafka-0", "--", "env", "KAFKA_SERVERS=kafka:9092", "sh", "-c", command)
        printed = self.watched.platform.kubectl(*inside)
        self.note(f"$ {command}\n{_shortened(printed)}")
        return printed

    def asks(self, promql: str) -> None:
        """Write down what a query gives."""
        namespace = self.watched.platform.namespace
        found = self.watched.prometheus.query(promql)
        shown = [
            f"{ {k: v for k, v in labels.items() if v != namespace} } {value:g}" for labels, value in found
        ]
        self.note(f"? {promql}\n{_shortened(chr(10).join(shown))}")

    def reads_ready(self, component: str, port: int) -> str:
        """Write down, and return, what a pod of a component answers to ``/ready``."""
        pod = self.watched.platform.pods(component)[0]["metadata"]["name"]
        asked = (
            f"import urllib.request as r, urllib.error as e\ntry: a = r.urlopen('http://127.0.0.1:{port}/ready')\n"
            "except e.HTTPError as error: a = error\nprint(a.status, a.read().decode())"
        )
        said = self.watched.platform.kubectl("exec", pod, "--", "python3", "-c", asked)
        self.note(f"/ready of {component}: {said.strip()}")
        return said

    def reads_log(self, target: str, containing: str, since: str = "2m") -> str:
        """Write down, and return, the newest line of a log that has a text in it."""

        def newest() -> str | None:
            log = self.watched.platform.kubectl("logs", target, f"--since={since}", "--all-containers")
            found = [line for line in log.splitlines() if containing in line]
            return found[-1] if found else None

        line = wait_until(f"{target} logs {containing}", newest, 60, every=1)
        self.note(f"log of {target}: {line[:400]}")
        return line

    def ends(self, name: str) -> None:
        """Keep what was written down."""
        TRANSCRIPTS.mkdir(parents=True, exist_ok=True)
        text = "\n".join([f"# {self.section}", *self._lines, ""])
        (TRANSCRIPTS / f"{name}.txt").write_text(text.replace(self.watched.platform.namespace, "reprise"))

    def _check_runbook(self, command: str) -> None:
        found = command in section_of(RUNBOOK.read_text(), self.section)
        assert found, f"docs/operations.md has no such command under {self.section}: {command}"

    def _run(self, command: str) -> str:
        """Run a command as it is written for the namespace ``reprise``, in the namespace of the test."""
        platform = self.watched.platform
        here = command.replace("-n reprise ", f"-n {platform.namespace} ")
        programs = {Path(path).parent for path in (platform.cluster.kubectl_path, platform.cluster.helm_path)}
        path = ":".join([*map(str, programs), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", here],
            cwd=ROOT,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise CommandError(f"{here}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr


def section_of(page: str, heading: str) -> str:
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        if title == heading:
            return text
    raise ValueError(f"there is no section {heading!r}")


def _shortened(text: str, most: int = 14) -> str:
    lines = [f"    {line[:220]}" for line in text.rstrip().splitlines()]
    return "\n".join([*lines[:most], *(["    …"] if len(lines) > most else [])])
