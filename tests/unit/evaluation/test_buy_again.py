"""The baselines of a ranking estimate what was simulated; the metrics of rankings are those of each list alone."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from reprise.evaluation.buy_again_baselines import BuyAgainBaselines, PairHistories
from reprise.evaluation.ranking_metrics import compare_rankings, user_metrics


def simulated(
    rng: np.random.Generator, pairs: int, shape: float, rate: float
) -> tuple[PairHistories, np.ndarray]:
    """Poisson purchases after a first one, at gamma rates; and whether another follows within 30 days."""
    ages, rates = rng.uniform(50, 300, pairs), rng.gamma(shape, 1 / rate, pairs)
    counts = rng.poisson(rates * ages)
    columns = np.zeros((6, pairs))
    for at, (age, count) in enumerate(zip(ages, counts, strict=True)):
        instants = np.sort(np.concatenate(([0.0], rng.uniform(0, age, count))))
        logs = np.log(np.diff(instants))
        columns[:, at] = count + 1, age, age - instants[-1], count, logs.sum(), (logs**2).sum()
    products = np.zeros(pairs, np.int64)
    return PairHistories(products, *columns), rng.poisson(rates * 30) > 0


def test_poisson_gamma_recovers_the_rates_and_its_probability_is_the_share_that_buys() -> None:
    pairs, bought = simulated(np.random.default_rng(0), 8_000, shape=1.5, rate=60.0)
    fitted = BuyAgainBaselines.fit(pairs)
    assert (fitted.shape[0], fitted.rate[0]) == (pytest.approx(1.5, rel=0.1), pytest.approx(60, rel=0.1))
    scores = fitted.scores(pairs, 30.0)
    probability = scores["Poisson-gamma"] / fitted.repeat_customers[0]
    assert probability.mean() == pytest.approx(bought.mean(), abs=0.01)
    for part in np.array_split(np.argsort(probability), 4):
        assert probability[part].mean() == pytest.approx(bought[part].mean(), abs=0.03)
    auc = {name: roc_auc_score(bought, values) for name, values in scores.items()}
    assert auc["Poisson-gamma"] == max(auc.values())  # the truth is Poisson-gamma


def test_regular_cycles_are_due_when_the_modified_poisson_gamma_and_the_time_distribution_say() -> None:
    # 200 pairs bought every ten days, five times: the last purchase was ten days ago, or one day ago.
    since = np.repeat([10.0, 1.0], 100)
    logs = 4 * np.log(10.0), 4 * np.log(10.0) ** 2
    pairs = PairHistories(
        np.zeros(200, np.int64), *np.full((1, 200), 5.0), 40 + since, since, *np.full((1, 200), 4.0),
        *(np.full(200, value) for value in logs),
    )  # fmt: skip
    scores = BuyAgainBaselines.fit(pairs).scores(pairs, 3.0)
    for name in ("modified Poisson-gamma", "aggregate time distribution"):
        assert scores[name][0] > scores[name][150], name
    assert scores["Poisson-gamma"][0] < scores["Poisson-gamma"][150]


def test_metrics_are_those_of_each_list_alone() -> None:
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(6), (12, 3, 30, 1, 5, 20))
    labels = rng.random(len(users)) < 0.3
    labels[users == 4] = False
    labels[users == 1] = [True, False, True]
    scores = np.round(rng.random(len(users)), 6)
    scores[users == 5] = 0.5  # all tied
    found = user_metrics(users, labels, scores)
    for user in (0, 1, 2):
        own, values = labels[users == user], scores[users == user]
        top = own[np.argsort(-values)][:10]
        assert found["recall@10"][user] == pytest.approx(top.sum() / min(own.sum(), 10))
        assert found["NDCG@10"][user] == pytest.approx(ndcg_score([own], [values], k=10))
        assert found["AUC within user"][user] == pytest.approx(roc_auc_score(own, values))
    assert found["AUC within user"][5] == 0.5
    assert np.isnan([found[name][4] for name in found]).all()


def test_lead_is_paired_and_users_count_alike() -> None:
    users = np.repeat(np.arange(50), 4)
    labels = np.tile([True, False, False, False], 50)
    right = labels.astype(float)
    compared = compare_rankings(users, labels, {"model": right, "reversed": -right})
    mean, lead = compared["reversed"]["AUC within user"]
    assert (mean.value, lead.value, lead.lower, lead.upper) == (0.0, 1.0, 1.0, 1.0)
    mean, lead = compared["model"]["recall@10"]
    assert (mean.value, lead.value) == (1.0, 0.0)
