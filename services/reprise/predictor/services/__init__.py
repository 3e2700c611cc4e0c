"""Rules of a prediction: routing, scoring, model loading, shadow traffic, admission control."""
