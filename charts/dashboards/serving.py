"""The predictor: rate, errors, duration, stages, arms."""

from dashboards.panels import Dashboard, Panel, Query, Row


def _quantiles(histogram: str, by: str, legend: str) -> tuple[Query, ...]:
    return tuple(
        Query(
            f"histogram_quantile({q}, sum by (le{by}) (rate({histogram}_bucket{{NS}}[RATE])))",
            f"{legend} p{q * 100:g}",
        )
        for q in (0.5, 0.95, 0.99)
    )


SERVING = Dashboard(
    "serving",
    "Serving",
    "Rate, errors and duration of predictions; where the time goes; the arms of a rollout.",
    (
        Row(
            "Requests",
            (
                Panel(
                    "Rate",
                    "Requests for predictions by endpoint.",
                    "reqps",
                    (
                        Query(
                            "sum by (endpoint) (rate(reprise_predictor_requests_total{NS}[RATE]))",
                            "{{endpoint}}",
                        ),
                    ),
                ),
                Panel(
                    "Errors",
                    "Requests that were not answered ok, by the name of the problem. 0 where there are none.",
                    "reqps",
                    (
                        Query(
                            'sum by (outcome) (rate(reprise_predictor_requests_total{NS, outcome!="ok"}[RATE]))',
                            "{{outcome}}",
                        ),
                    ),
                ),
                Panel(
                    "Duration",
                    "From a request's first byte to its answer's last, in the process.",
                    "s",
                    _quantiles("reprise_predictor_request_seconds", ", endpoint", "{{endpoint}}"),
                ),
                Panel(
                    "Duration by status",
                    "Mean duration of every HTTP request by the status of its answer, what is refused at the door included.",
                    "s",
                    (
                        Query(
                            'sum by (status) (rate(reprise_http_request_seconds_sum{NS, job=~".*predictor.*"}[RATE]))'
                            ' / sum by (status) (rate(reprise_http_request_seconds_count{NS, job=~".*predictor.*"}[RATE])) >= 0',
                            "{{status}}",
                        ),
                    ),
                ),
                Panel(
                    "Under way",
                    "Requests that are being answered, of the bounds PREDICTOR_MAX_IN_FLIGHT and"
                    " PREDICTOR_MAX_BATCHES_IN_FLIGHT.",
                    "short",
                    (Query("sum by (kind) (reprise_predictor_in_flight{NS})", "{{kind}}"),),
                ),
                Panel(
                    "Answers from empty state",
                    "Answers about a user, a product or a pair that was never seen.",
                    "cps",
                    (
                        Query(
                            "sum by (entity) (rate(reprise_predictor_unknown_entities_total{NS}[RATE]))",
                            "{{entity}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Stages",
            (
                Panel(
                    "Mean time by stage",
                    "Where a prediction's time goes; read is the round trip to Redis.",
                    "s",
                    (
                        Query(
                            "sum by (stage) (rate(reprise_predictor_stage_seconds_sum{NS}[RATE]))"
                            " / sum by (stage) (rate(reprise_predictor_stage_seconds_count{NS}[RATE]))",
                            "{{stage}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Reads of the online store",
                    "How long Redis takes, as the predictors see it.",
                    "s",
                    tuple(
                        Query(
                            f"histogram_quantile({q}, sum by (le) (rate(reprise_dependency_seconds_bucket"
                            f'{{NS, job=~".*predictor.*", dependency="online_store"}}[RATE])))',
                            f"p{q * 100:g}",
                        )
                        for q in (0.5, 0.99)
                    ),
                    width=12,
                ),
            ),
        ),
        Row(
            "Arms",
            (
                Panel(
                    "Answers by arm",
                    "How traffic is split; compare with the rollout's weights.",
                    "cps",
                    (Query("sum by (arm) (rate(reprise_predictor_arm_score_count{NS}[RATE]))", "{{arm}}"),),
                ),
                Panel(
                    "Mean time by arm",
                    "What each arm's model costs. A candidate far above the baseline is rolled back.",
                    "s",
                    (
                        Query(
                            "sum by (arm) (rate(reprise_predictor_arm_seconds_sum{NS}[RATE]))"
                            " / sum by (arm) (rate(reprise_predictor_arm_seconds_count{NS}[RATE]))",
                            "{{arm}}",
                        ),
                    ),
                ),
                Panel(
                    "Weights",
                    "The share of users that the routing document gives each arm.",
                    "percentunit",
                    (Query("max by (rollout, arm) (reprise_rollout_arm_weight{NS})", "{{rollout}} {{arm}}"),),
                    needs="kubernetes",
                ),
                Panel(
                    "Prediction log",
                    "Answers by what became of them in the log; dropped and failed ones are lost to outcomes.",
                    "cps",
                    (
                        Query(
                            "sum by (outcome) (rate(reprise_predictor_logged_total{NS}[RATE]))", "{{outcome}}"
                        ),
                    ),
                ),
                Panel(
                    "Models that answer",
                    "Pods by the digest of their model. More than one for long: some do not follow.",
                    "short",
                    (Query("count by (digest) (reprise_predictor_model_info{NS})", "{{digest}}"),),
                    "bars",
                ),
            ),
        ),
    ),
)
