"""Is the model still right: scores, outcomes, consistency."""

from dashboards.panels import Dashboard, Panel, Query, Row

_FULL = 'horizon="full"'

QUALITY = Dashboard(
    "quality",
    "Model quality",
    "How the scores are distributed, what users then did, and whether serving and history agree.",
    (
        Row(
            "Scores",
            (
                Panel(
                    "Score distribution",
                    "Predictions of the last hour by probability, up to each bound.",
                    "short",
                    (
                        Query(
                            "sum by (le) (increase(reprise_predictor_arm_score_bucket{NS}[1h]))", "≤ {{le}}"
                        ),
                    ),
                    "bars",
                    12,
                ),
                Panel(
                    "Mean score by arm",
                    "Should stay near the share of positive rows that the model was trained on.",
                    "percentunit",
                    (
                        Query(
                            "sum by (arm) (rate(reprise_predictor_arm_score_sum{NS}[RATE]))"
                            " / sum by (arm) (rate(reprise_predictor_arm_score_count{NS}[RATE]))",
                            "{{arm}}",
                        ),
                        Query(
                            'max(reprise_trainer_positive_rows{window="evaluation"})'
                            ' / max(reprise_trainer_rows{window="evaluation"})',
                            "positive rows of the last evaluation",
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
        Row(
            "Drift",
            (
                Panel(
                    "Scores",
                    "Population stability index of the last hour's scores against the model's evaluation. Above 0.1: look;"
                    " above 0.25: another population.",
                    "none",
                    (Query("max by (arm) (reprise_predictor_score_psi{NS})", "{{arm}}"),),
                    width=12,
                ),
                Panel(
                    "Inputs, the ten that moved most",
                    "Population stability index of the model's inputs of the last days against its training, by the outcomes"
                    " job. Above 0.1: look; above 0.25: another population.",
                    "none",
                    (Query("topk(10, max by (feature) (reprise_outcomes_feature_psi))", "{{feature}}"),),
                    width=12,
                ),
            ),
        ),
        Row(
            "Outcomes",
            (
                Panel(
                    "Measures by arm",
                    "Of the predictions whose horizon is over, against what users then did.",
                    "none",
                    (
                        Query(
                            f"max by (arm, measure) (reprise_outcomes_measure{{{_FULL}}})",
                            "{{arm}} {{measure}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Candidates against the baseline",
                    "Difference with its confidence sequence; above 0 is better, and sure once the lower end is.",
                    "none",
                    (
                        Query(
                            "max by (candidate, metric) (reprise_outcomes_improvement)",
                            "{{candidate}} {{metric}}",
                        ),
                        Query(
                            "max by (candidate, metric) (reprise_outcomes_improvement_lower)",
                            "{{candidate}} {{metric}} ≥",
                        ),
                        Query(
                            "max by (candidate, metric) (reprise_outcomes_improvement_upper)",
                            "{{candidate}} {{metric}} ≤",
                        ),
                    ),
                    width=12,
                    needs="kubernetes",
                ),
                Panel(
                    "Predictions judged",
                    "Predictions whose horizon is over.",
                    "short",
                    (Query("max by (arm, horizon) (reprise_outcomes_predictions)", "{{arm}} {{horizon}}"),),
                ),
                Panel(
                    "Online against offline",
                    "Logged features that differ from history without an event on its way that explains it, and logged"
                    " probabilities that their model does not give. Anything but 0 breaks the promise.",
                    "short",
                    (
                        Query("max(reprise_outcomes_mismatches)", "features"),
                        Query("max(reprise_outcomes_probability_mismatches)", "probabilities"),
                    ),
                    "number",
                    8,
                    bad_above=1,
                ),
                Panel(
                    "Features checked",
                    "Logged features that were recomputed from the offline store by the last run.",
                    "short",
                    (Query("max(reprise_outcomes_checked_values)"),),
                    "number",
                    8,
                ),
            ),
        ),
    ),
)
