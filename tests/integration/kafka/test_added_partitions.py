"""Partitions are added while the producers pause: users move to others, and their features stay exact."""

from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions

from reprise.log import EVENTS
from support.histories import make_events
from support.kafka import KafkaBroker
from support.killing import committed, folding
from support.redis import RedisServer

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow, pytest.mark.soak]

PARTITIONS = 4 * EVENTS.partitions
RATE = 400


def test_features_are_exact_after_a_pause_in_which_partitions_were_added(
    kafka_broker: KafkaBroker, redis_server: RedisServer, tmp_path: Path
) -> None:
    events = make_events(RATE * 200, users=60, products=25)
    with folding(kafka_broker, redis_server.settings(), tmp_path, events, RATE) as (load, workers):
        load.pause()
        workers.wait_until_folded(kafka_broker)
        before = load.sent
        admin = KafkaAdminClient(bootstrap_servers=kafka_broker.servers)
        admin.create_partitions({EVENTS.name: NewPartitions(total_count=PARTITIONS)})
        admin.close()
        earlier, workers.running = workers.running, []
        for process in earlier:
            process.terminate()
            assert process.wait(60) == 0
            workers.start()
        load.resume()
        load.wait_until_sent(before + RATE * 5)
    folded = committed(kafka_broker)
    assert len(folded) == PARTITIONS
    assert sum(1 for offset in folded.values() if offset) > PARTITIONS // 2
