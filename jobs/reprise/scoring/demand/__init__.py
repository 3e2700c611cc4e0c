"""Forecasts the demand for each product within the model's horizon."""
