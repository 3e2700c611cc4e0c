"""Is it healthy, is it fresh, is it right: one screen."""

from dashboards.panels import Dashboard, Panel, Query, Row

OVERVIEW = Dashboard(
    "overview",
    "Overview",
    "One screen for whoever is on call: is it healthy, is it fresh, is it right?",
    (
        Row(
            "Healthy",
            (
                Panel(
                    "Services ready",
                    "Share of the processes whose /ready says so. Below 100%, `reprise_ready == 0` shows which is not.",
                    "percentunit",
                    (Query("avg(reprise_ready{NS})"),),
                    "number",
                    6,
                    bad_below=1,
                ),
                Panel(
                    "Predictions answered",
                    "Share of the requests for predictions that were not answered with a failure of ours; the objective is"
                    " 99.9%.",
                    "percentunit",
                    (
                        Query(
                            'sum(rate(reprise_predictor_requests_total{NS, outcome!~"internal-error|unreadable-state|'
                            'deadline-exceeded|no-model|overloaded|store-unavailable"}[RATE]))'
                            " / sum(rate(reprise_predictor_requests_total{NS}[RATE]))"
                        ),
                    ),
                    "number",
                    6,
                    bad_below=0.999,
                ),
                Panel(
                    "Predictions, 99th percentile",
                    "Time that 99 of 100 single predictions stay below; the objective is 50 ms.",
                    "s",
                    (
                        Query(
                            "histogram_quantile(0.99, sum by (le)"
                            ' (rate(reprise_predictor_request_seconds_bucket{NS, endpoint="/predict"}[RATE])))'
                        ),
                    ),
                    "number",
                    6,
                    bad_above=0.05,
                ),
                Panel(
                    "Predictions a second",
                    "Answers of all predictors, batches counted by their items.",
                    "reqps",
                    (Query("sum(rate(reprise_predictor_arm_score_count{NS}[RATE]))"),),
                    "number",
                    6,
                ),
            ),
        ),
        Row(
            "Fresh",
            (
                Panel(
                    "Event to readable, 95th percentile",
                    "From an event's own timestamp until predictions see it.",
                    "s",
                    (
                        Query(
                            "histogram_quantile(0.95, sum by (le) (rate(reprise_materializer_freshness_seconds_bucket{NS}[RATE])))"
                        ),
                    ),
                    "number",
                    6,
                    bad_above=30,
                ),
                Panel(
                    "Events waiting",
                    "Records of the events topic that are not folded yet, over all partitions.",
                    "short",
                    (Query("sum(max by (partition) (reprise_materializer_lag_records{NS}))"),),
                    "number",
                    6,
                    bad_above=5000,
                ),
                Panel(
                    "Age of the model's data",
                    "Since the newest event that the answering model was trained from.",
                    "s",
                    (Query("time() - max(reprise_predictor_model_data_timestamp_seconds{NS} > 0)"),),
                    "number",
                    6,
                    bad_above=14 * 86400,
                ),
                Panel(
                    "Since the last training",
                    "Since the trainer last ended well; it runs every night.",
                    "s",
                    (
                        Query(
                            'time() - max(reprise_job_last_success_timestamp_seconds{job="reprise-trainer"})'
                        ),
                    ),
                    "number",
                    6,
                    bad_above=36 * 3600,
                ),
            ),
        ),
        Row(
            "Right",
            (
                Panel(
                    "Dead letters, last hour",
                    "Records that hold no valid event; each is in ecommerce-events-dlq with its reason.",
                    "short",
                    (Query('sum(increase(reprise_materializer_events_total{NS, outcome="invalid"}[1h]))'),),
                    "number",
                    8,
                    bad_above=1,
                ),
                Panel(
                    "Records lost to the archive, last day",
                    "Records that Kafka had deleted before they were archived. Anything but 0 is a hole in history.",
                    "short",
                    (
                        Query(
                            "sum(increase(reprise_archiver_lost_records_total{NS}[1d]))"
                            " + sum(reprise_archiver_missing_records{NS})"
                        ),
                    ),
                    "number",
                    8,
                    bad_above=1,
                ),
                Panel(
                    "AUC of the last model",
                    "On held-out rows of the latest time; 0.5 is a coin.",
                    "none",
                    (
                        Query(
                            'max(reprise_trainer_evaluation{measure="roc_auc", slice="overall", scorer="model"})'
                        ),
                    ),
                    "number",
                    8,
                    bad_below=0.6,
                ),
                Panel(
                    "Requests by outcome",
                    "Requests for predictions; ok, or the name of the problem that they were answered with.",
                    "reqps",
                    (
                        Query(
                            "sum by (outcome) (rate(reprise_predictor_requests_total{NS}[RATE])) > 0",
                            "{{outcome}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Events",
                    "What the producers took, and what the materializers did with it. The two go together.",
                    "cps",
                    (
                        Query(
                            "sum by (outcome) (rate(reprise_producer_events_total{NS}[RATE]))",
                            "produced, {{outcome}}",
                        ),
                        Query(
                            "sum by (outcome) (rate(reprise_materializer_events_total{NS}[RATE]))",
                            "folding, {{outcome}}",
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
    ),
)
