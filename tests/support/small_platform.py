"""A whole platform as processes of this machine, on a small plan and a model made by hand."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from reprise.cli.demo.latency import wait_ready
from reprise.cli.demo.processes import ProcessTree, own_command
from support.predictor import published
from support.redis import RedisServer, free_port
from support.served_bundles import bundle_files, small_plan
from support.waiting import wait_until

PROJECT = "reprise"
ROWS = f"*{PROJECT}"
USERS: dict[str, tuple[str, ...]] = {
    "predictor": (f"%R~{ROWS}", f"%R~routing:{PROJECT}:document*", "-@all", "+ping", "+hmget", "+get"),
    "materializer": (
        *(f"~{ROWS}", f"~seen:{PROJECT}:*", f"~settled:{PROJECT}:*"),
        *("-@all", "+ping", "+hmget", "+hget", "+hset", "+eval", "+evalsha"),
        *("+get", "+set", "+scan", "+unlink"),
    ),
    "doctor": (
        *(f"~reprise-doctor:{PROJECT}:*", f"%W~*reprise-doctor-{ROWS}", f"%R~routing:{PROJECT}:document*"),
        *("-@all", "+ping", "+set", "+get", "+del", "+acl|dryrun"),
    ),
}
"""Redis's users with no more than they need, as the chart makes them."""
PASSWORD = "s3cret"


@dataclass(frozen=True)
class SmallPlatform:
    """The platform, and its parts that a test may break; ``log`` are the variables that say where the log is."""

    folder: Path
    tree: ProcessTree
    redis: RedisServer
    log: Mapping[str, str]
    ports: Mapping[str, int]

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def start(self, name: str, wait: bool = True) -> None:
        commands = {"materializer": "materialize", "predictor": "serve", "producer": "produce --mode serve"}
        variables = {**self.log, **({} if name == "producer" else self.redis_variables(name))}
        if name == "materializer":
            variables["REPRISE_PLAN"] = str(self.folder / "plan.json")
        if name == "predictor":
            variables |= {"MODEL_STORE": str(self.models), "MODEL_RELOAD_SECONDS": "0.2"}
            variables["PREDICTOR_REHEARSAL_SECONDS"] = "0"
            variables["PREDICTOR_PREDICTION_LOG"] = "true"
        self.tree.serve(name, commands[name].split(), variables, self.ports[name])
        if wait:
            self.wait_until_ready(name)

    def wait_until_ready(self, name: str) -> None:
        with httpx.Client(timeout=5) as client:
            wait_ready(client, self.url(name), self.tree.check)

    def wait_until_unready(self, name: str) -> None:
        ready = f"{self.url(name)}/ready"
        wait_until(
            f"{name} is unready", lambda: httpx.get(ready, timeout=5).status_code == 503, 20, every=0.05
        )

    def redis_variables(self, user: str) -> dict[str, str]:
        return {
            "REDIS_HOST": self.redis.host,
            "REDIS_PORT": str(self.redis.port),
            "REDIS_USERNAME": user,
            "REDIS_PASSWORD": PASSWORD,
        }

    def make_users(self) -> None:
        """Make Redis's users; a server that was stopped has forgotten them."""
        with self.redis.client() as client:
            for name, rules in USERS.items():
                own = ("on", f">{PASSWORD}", "resetkeys", "resetchannels", *rules)
                client.execute_command("ACL", "SETUSER", name, *own)

    def examine(self, *options: str, **variables: str) -> "Examined":
        """Run the whole command, as a person would."""
        environment = {
            **self.log,
            **self.redis_variables("doctor"),
            "REPRISE_PLAN": str(self.folder / "plan.json"),
            "MODEL_STORE": str(self.models),
            "DOCTOR_PREDICTOR_URL": self.url("predictor"),
            "DOCTOR_PRODUCER_URL": self.url("producer"),
            "DOCTOR_MATERIALIZER_REDIS_USERNAME": "materializer",
            "DOCTOR_PREDICTOR_REDIS_USERNAME": "predictor",
            "DOCTOR_CANARY_SECONDS": "10",
            "REDIS_CONNECT_TIMEOUT": "1",
            **variables,
        }
        done = subprocess.run(
            own_command("doctor", *options),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Examined(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Examined:
    """What the command ended with, and printed."""

    status: int
    output: str
    errors: str

    @property
    def checks(self) -> dict[str, dict[str, Any]]:
        """The checks by name, where JSON was asked for."""
        try:
            return {check["name"]: check for check in json.loads(self.output)["checks"]}
        except ValueError:
            raise AssertionError(f"no JSON: {self.output}\n{self.errors}") from None

    @property
    def failed(self) -> list[str]:
        return [name for name, check in self.checks.items() if check["status"] == "failed"]


@contextmanager
def small_platform(folder: Path, redis: RedisServer, servers: str | None = None) -> Iterator[SmallPlatform]:
    """Run the platform, on the embedded log unless Kafka's servers are given."""
    (folder / "plan.json").write_bytes(small_plan().dumps())
    (folder / "output").mkdir()
    published(folder / "models", bundle_files())
    log = {"REPRISE_LOG_DIR": str(folder / "log")}
    if servers is not None:
        log |= {"KAFKA_SERVERS": servers, "KAFKA_SESSION_SECONDS": "2"}
    ports = {name: free_port() for name in ("materializer", "predictor", "producer")}
    with ProcessTree(folder / "output") as tree:
        platform = SmallPlatform(folder, tree, redis, log, ports)
        platform.make_users()
        for name in ports:
            platform.start(name, wait=False)
        for name in ports:
            platform.wait_until_ready(name)
        yield platform
