"""Runs of the trainer and the other jobs, and what came of them."""

from dashboards.panels import Dashboard, Panel, Query, Row

_MODEL = 'slice="overall", scorer="model"'

TRAINING = Dashboard(
    "training",
    "Training",
    "Runs of the jobs, how long they took, and how good the models are, over time.",
    (
        Row(
            "Runs",
            (
                Panel(
                    "Failed",
                    "1 for a job whose last run failed.",
                    "short",
                    (Query("max by (job) (reprise_job_failed)", "{{job}}"),),
                    "number",
                    8,
                    bad_above=1,
                ),
                Panel(
                    "Since the last success",
                    "By job; the trainer runs every night.",
                    "s",
                    (Query("time() - max by (job) (reprise_job_last_success_timestamp_seconds)", "{{job}}"),),
                    "number",
                    8,
                ),
                Panel(
                    "Duration",
                    "How long the last run of each job took.",
                    "s",
                    (Query("max by (job) (reprise_job_duration_seconds)", "{{job}}"),),
                    "number",
                    8,
                ),
                Panel(
                    "Steps of training",
                    "How long each step of the last successful run took.",
                    "s",
                    (Query("max by (step) (reprise_trainer_step_seconds)", "{{step}}"),),
                    "bars",
                    12,
                ),
                Panel(
                    "Failed Jobs of the cluster",
                    "Jobs that Kubernetes counts as failed, also such as ended before they could push anything.",
                    "short",
                    (
                        Query(
                            'sum by (job_name) (kube_job_status_failed{NS, job_name=~".*reprise.*"})',
                            "{{job_name}}",
                        ),
                    ),
                    width=12,
                    needs="kubernetes",
                ),
            ),
        ),
        Row(
            "Models",
            (
                Panel(
                    "Ranking",
                    "ROC AUC and average precision on held-out rows.",
                    "none",
                    (
                        Query(
                            f'max by (measure) (reprise_trainer_evaluation{{{_MODEL}, measure=~"roc_auc|average_precision"}})',
                            "{{measure}}",
                        ),
                    ),
                ),
                Panel(
                    "Against the baselines",
                    "ROC AUC of the model, of recency alone, and, on synthetic data, of the oracle.",
                    "none",
                    (
                        Query(
                            'max by (scorer) (reprise_trainer_evaluation{slice="overall", measure="roc_auc"})',
                            "{{scorer}}",
                        ),
                    ),
                ),
                Panel(
                    "Probabilities",
                    "Brier score, log loss and calibration error on held-out rows; lower is better.",
                    "none",
                    (
                        Query(
                            f'max by (measure) (reprise_trainer_evaluation{{{_MODEL}, measure=~"brier|log_loss|calibration_error"}})',
                            "{{measure}}",
                        ),
                    ),
                ),
                Panel(
                    "Rows",
                    "Rows of the last model's windows.",
                    "short",
                    (Query("max by (window) (reprise_trainer_rows)", "{{window}}"),),
                ),
                Panel(
                    "Share of positive rows",
                    "Of each window; a jump is a change in the data.",
                    "percentunit",
                    (
                        Query(
                            "max by (window) (reprise_trainer_positive_rows) / max by (window) (reprise_trainer_rows)",
                            "{{window}}",
                        ),
                    ),
                ),
                Panel(
                    "Age of the newest event",
                    "Of the events that the last model was trained from.",
                    "s",
                    (Query("time() - max(reprise_trainer_last_event_timestamp_seconds)"),),
                    "number",
                ),
            ),
        ),
    ),
)
