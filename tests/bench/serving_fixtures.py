"""What the serving benchmark needs: a history, a trained model, filled stores, and the other service's parts."""

# ruff: noqa: PLC0415 - Feast and the trainer take seconds to import

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from support.redis import RedisServer

REPOSITORY = Path(__file__).parents[2]
PLAN = REPOSITORY / "feature_repo" / "plan" / "plan.json"


@dataclass(frozen=True)
class Prepared:
    """Folders and requests of the benchmark."""

    models: Path
    straightforward: Path
    requests: list[dict[str, Any]]


def prepare(folder: Path, redis: RedisServer, users: int, days: int) -> Prepared:
    """Make a history, train on it, fill Redis for both services, and draw requests from the history."""
    events = folder / "history.parquet"
    command("datagen", str(events), "--start", "2026-01-01", "--users", str(users), "--days", str(days))
    models = folder / "models"
    parameters = train(events, models)
    address = ("--redis-host", redis.host, "--redis-port", str(redis.port))
    command("backfill", "--events", str(events), "--plan", str(PLAN), *address)
    straightforward = folder / "straightforward"
    straightforward.mkdir()
    requests = fill_straightforward(straightforward, events, redis, parameters)
    return Prepared(models, straightforward, requests)


def command(*arguments: str) -> None:
    environment = {**os.environ, "REPRISE_PROGRESS": "off"}
    program = "from reprise.cli.main import command; command()"
    subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, env=environment, stdout=subprocess.PIPE
    )


def train(events: Path, models: Path) -> Any:
    """Train as the platform does; return the forest's parameters."""
    from reprise.trainer.pipeline import train as train_model
    from reprise.trainer.settings import TrainerSettings

    os.environ["REPRISE_PROGRESS"] = "off"
    settings = TrainerSettings.load(events=events, out=str(models), plan=PLAN, cv_folds=0)
    return train_model(settings).run.model.selection.parameters


def fill_straightforward(
    folder: Path, events: Path, redis: RedisServer, parameters: Any
) -> list[dict[str, Any]]:
    """Grow the same forest for joblib, and materialize features that are ready to use with Feast's SDK."""
    import joblib
    import numpy as np
    import pandas as pd

    from reprise.event_files.importer import import_events
    from reprise.event_files.options import ImportOptions
    from reprise.features.formulas import formula_names
    from reprise.features.plan import Plan
    from reprise.features.training_rows import build_training_rows
    from reprise.trainer.model.forest import grow_forest

    plan = Plan.load(PLAN)
    canonical, rows_file = folder / "events.parquet", folder / "rows.parquet"
    import_events(events, canonical, options=ImportOptions())
    build_training_rows(canonical, rows_file, plan, timedelta(days=30))
    rows = pd.read_parquet(rows_file)
    labelled = rows[rows["label"].notna()]
    inputs = np.ascontiguousarray(labelled[list(plan.input_names)].to_numpy(), np.float32)
    forest = grow_forest(inputs, labelled["label"].to_numpy(bool), parameters, seed=0, jobs=2)
    forest.set_params(n_jobs=1)
    joblib.dump(forest, folder / "forest.joblib")
    # What the service has the operands of; the others are materialized with the features of pairs.
    formulas = {
        described.name: described.finish["formula"]
        for described in plan.request_inputs
        if described.finish["kind"] == "formula"
        and formula_names(described.finish["formula"]) <= set(plan.input_names)
    }
    features = _materialize(folder, redis, plan, rows, formulas)
    layout = {"features": features, "inputs": list(plan.input_names), "formulas": formulas}
    (folder / "layout.json").write_text(json.dumps(layout))
    return _requests(rows)


def _materialize(
    folder: Path, redis: RedisServer, plan: Any, rows: Any, computed: Mapping[str, str]
) -> list[str]:
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64

    (folder / "feature_store.yaml").write_text(
        f"project: straightforward\nprovider: local\nregistry: {folder}/registry.db\n"
        "offline_store: {type: file}\n"
        f"online_store: {{type: redis, connection_string: '{redis.host}:{redis.port}'}}\n"
        "entity_key_serialization_version: 3\n"
    )
    store = FeatureStore(str(folder))
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    product = Entity(name="product", join_keys=["product_id"], value_type=ValueType.STRING)
    keys = {"user": [user], "product": [product], "pair": [user, product]}
    features = []
    for entity, entities in keys.items():
        names = [described.name for described in plan.inputs if described.entity == entity]
        if entity == "pair":
            names += [
                described.name
                for described in plan.request_inputs
                if described.finish["kind"] == "formula" and described.name not in computed
            ]
        ids = [key.join_key for key in entities]
        latest = rows.groupby(ids, as_index=False).last()[[*ids, *names]]
        latest["timestamp"] = pd.Timestamp(datetime.now(UTC))
        path = folder / f"{entity}.parquet"
        latest.to_parquet(path)
        view = FeatureView(
            name=f"{entity}_ready",
            entities=entities,
            ttl=timedelta(0),
            schema=[Field(name=name, dtype=Float64) for name in names],
            source=FileSource(path=str(path), timestamp_field="timestamp"),
        )
        store.apply([*entities, view])
        store.write_to_online_store(view.name, latest)
        features += [f"{view.name}:{name}" for name in names]
    return features


def _requests(rows: Any) -> list[dict[str, Any]]:
    recent = rows.tail(20_000)
    draw = random.Random(0)
    picked = draw.choices(range(len(recent)), k=2_000)
    return [
        {
            "user_id": recent["user_id"].iloc[at],
            "product_id": recent["product_id"].iloc[at],
            "event_type": "purchase",
            "amount": round(draw.uniform(1, 100), 2),
        }
        for at in picked
    ]
