"""What the operator decides, as pure functions of spec, status, observed state and time."""
