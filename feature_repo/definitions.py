"""The one place where features are defined.

Edit this file and run ``reprise features plan``. The plan defines the state that the stream keeps, the batch SQL, the
online views and the model's inputs. docs/adding-a-feature.md walks through an example.
"""

from featuretools.primitives import (
    AvgTimeBetween,
    Count,
    DecayedCount,
    DecayedSum,
    First,
    GreaterThanScalar,
    Last,
    Max,
    Mean,
    Median,
    Min,
    NumTrue,
    PercentTrue,
    Std,
    Sum,
    TimeSinceFirst,
    TimeSinceLast,
    Trend,
)

from reprise.features.discovery.definition import Definition, EntityDefinition, FormulaInput

# Median and Trend have no bounded state. They are examples of what the compiler refuses, with the reason.
AGGREGATIONS = (
    Count(),
    Sum(),
    Mean(),
    Std(),
    Min(),
    Max(),
    First(),
    Last(),
    Median(),
    Trend(),
    NumTrue(),
    PercentTrue(),
    TimeSinceFirst(unit="days"),
    TimeSinceLast(unit="days"),
    AvgTimeBetween(unit="days"),
    DecayedCount(half_life_days=7),
    DecayedCount(half_life_days=30),
    DecayedSum(half_life_days=30),
)

# "Bought at all" and "bought again", of a pair.
TRANSFORMS = (GreaterThanScalar(0), GreaterThanScalar(1))

DEFINITION = Definition(
    frames={"view": "views", "purchase": "purchases"},
    users=EntityDefinition(
        aggregations=AGGREGATIONS,
        transforms=TRANSFORMS,
        named={
            "total_spend": "SUM(purchases.amount)",
            "avg_transaction_amount": "MEAN(purchases.amount)",
            "days_since_last_purchase": "TIME_SINCE_LAST(purchases.timestamp, unit=days)",
            "repeat_purchase_count": "NUM_TRUE(user_products.COUNT(purchases) > 1)",
        },
    ),
    products=EntityDefinition(
        aggregations=AGGREGATIONS,
        transforms=TRANSFORMS,
        named={
            "product_repeat_buyers": "NUM_TRUE(user_products.COUNT(purchases) > 1)",
            "product_repurchase_days": "MEAN(user_products.AVG_TIME_BETWEEN(purchases.timestamp, unit=days))",
        },
    ),
    user_products=EntityDefinition(
        aggregations=AGGREGATIONS,
        max_depth=1,
        named={
            "pair_purchases": "COUNT(purchases)",
            "pair_days_since_purchase": "TIME_SINCE_LAST(purchases.timestamp, unit=days)",
            "pair_repurchase_days": "AVG_TIME_BETWEEN(purchases.timestamp, unit=days)",
        },
    ),
    request={"request_amount": "amount", "request_is_purchase": "is_purchase"},
    formulas={
        "amount_to_user_average": FormulaInput(
            "request_amount / avg_transaction_amount", "the request's amount over the user's average"
        ),
        "pair_cycle_position": FormulaInput(
            "pair_days_since_purchase / pair_repurchase_days", "how much of the pair's own cycle has passed"
        ),
        "product_cycle_position": FormulaInput(
            "pair_days_since_purchase / product_repurchase_days",
            "how much of the product's usual cycle has passed since the user bought it",
        ),
    },
)
