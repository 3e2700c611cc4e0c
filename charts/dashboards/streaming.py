"""From event to feature, and to the archive."""

from dashboards.panels import Dashboard, Panel, Query, Row

STREAMING = Dashboard(
    "streaming",
    "Streaming",
    "Events from the producers through the log into Redis and the archive.",
    (
        Row(
            "Events",
            (
                Panel(
                    "Produced",
                    "Events by where they came from and what became of them.",
                    "cps",
                    (
                        Query(
                            "sum by (source, outcome) (rate(reprise_producer_events_total{NS}[RATE]))",
                            "{{source}} {{outcome}}",
                        ),
                    ),
                ),
                Panel(
                    "Folded",
                    "Records by what became of them: folded, replayed after a crash, duplicate, ignored, invalid.",
                    "cps",
                    (
                        Query(
                            "sum by (outcome) (rate(reprise_materializer_events_total{NS}[RATE]))",
                            "{{outcome}}",
                        ),
                    ),
                ),
                Panel(
                    "Dead letters and duplicates",
                    "Records of the last hour that hold no valid event, or one that was seen before.",
                    "short",
                    (
                        Query(
                            "sum by (outcome) (increase(reprise_materializer_events_total"
                            '{NS, outcome=~"invalid|duplicate"}[1h]))',
                            "{{outcome}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Freshness and lag",
            (
                Panel(
                    "Event to readable",
                    "From an event's own timestamp until its features can be read.",
                    "s",
                    tuple(
                        Query(
                            f"histogram_quantile({q}, sum by (le)"
                            " (rate(reprise_materializer_freshness_seconds_bucket{NS}[RATE])))",
                            f"p{q * 100:g}",
                        )
                        for q in (0.5, 0.95, 0.99)
                    ),
                ),
                Panel(
                    "Lag by partition",
                    "Records that are not folded yet. One partition alone: a key that is too busy, or a member that hangs.",
                    "short",
                    (Query("max by (partition) (reprise_materializer_lag_records{NS})", "{{partition}}"),),
                ),
                Panel(
                    "Lag as Kafka sees it",
                    "Committed offsets against the ends of the partitions, by consumer group.",
                    "short",
                    (
                        Query(
                            "sum by (consumergroup, topic) (kafka_consumergroup_lag{NS})",
                            "{{consumergroup}} {{topic}}",
                        ),
                    ),
                    needs="kafka",
                ),
            ),
        ),
        Row(
            "Work",
            (
                Panel(
                    "Time of a batch",
                    "From having records to their commit.",
                    "s",
                    tuple(
                        Query(
                            f"histogram_quantile({q}, sum by (le) (rate(reprise_materializer_batch_seconds_bucket{{NS}}[RATE])))",
                            f"p{q * 100:g}",
                        )
                        for q in (0.5, 0.99)
                    ),
                ),
                Panel(
                    "Rows merged anew",
                    "Rows that another materializer changed between read and write; many: products that are shared by"
                    " partitions are busy.",
                    "cps",
                    (
                        Query(
                            "sum by (view) (rate(reprise_materializer_conflicts_total{NS}[RATE]))", "{{view}}"
                        ),
                    ),
                ),
                Panel(
                    "Dependencies",
                    "Mean time of calls to the store, the log and the archive, by process.",
                    "s",
                    (
                        Query(
                            "sum by (job, dependency) (rate(reprise_dependency_seconds_sum{NS}[RATE]))"
                            " / sum by (job, dependency) (rate(reprise_dependency_seconds_count{NS}[RATE])) >= 0",
                            "{{job}} {{dependency}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Archive",
            (
                Panel(
                    "Archived",
                    "Records in the offline store and committed.",
                    "cps",
                    (
                        Query(
                            "sum by (topic, outcome) (rate(reprise_archiver_records_total{NS}[RATE]))",
                            "{{topic}} {{outcome}}",
                        ),
                    ),
                ),
                Panel(
                    "Waiting and behind",
                    "Records that wait for the end of their segment, and such that are not read yet.",
                    "short",
                    (
                        Query("sum by (topic) (reprise_archiver_waiting_records{NS})", "{{topic}} waiting"),
                        Query(
                            "sum by (topic) (max by (topic, partition) (reprise_archiver_lag_records{NS}))",
                            "{{topic}} behind",
                        ),
                    ),
                ),
                Panel(
                    "Written",
                    "Parquet, bytes a second.",
                    "Bps",
                    (
                        Query(
                            "sum by (topic) (rate(reprise_archiver_written_bytes_total{NS}[RATE]))",
                            "{{topic}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
