"""Partitions added to the topic of events under load: users move to others, and nothing is lost or doubled."""

import time
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions

from reprise.log import EVENTS
from support.histories import make_events
from support.kafka import KafkaBroker
from support.killing import committed, folding
from support.redis import RedisServer

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow]

PARTITIONS = 4 * EVENTS.partitions
RATE = 400


def test_states_are_the_batch_executors_while_old_and_new_partitions_have_a_users_events(
    kafka_broker: KafkaBroker, redis_server: RedisServer, tmp_path: Path
) -> None:
    events = make_events(RATE * 30, users=60, products=25)
    with folding(kafka_broker, redis_server.settings(), tmp_path, events, RATE) as (load, workers):
        admin = KafkaAdminClient(bootstrap_servers=kafka_broker.servers)
        admin.create_partitions({EVENTS.name: NewPartitions(total_count=PARTITIONS)})
        admin.close()
        load.add_producer()  # The one before still appends to the old partitions
        for _ in range(
            2
        ):  # Restarted, as by a rolling update; they would notice by themselves after five minutes
            workers.start()
            time.sleep(1)
            oldest = workers.running.pop(0)
            oldest.terminate()
            assert oldest.wait(60) == 0
        time.sleep(2)
    folded = committed(kafka_broker)
    assert len(folded) == PARTITIONS
    assert sum(1 for offset in folded.values() if offset) > PARTITIONS // 2
