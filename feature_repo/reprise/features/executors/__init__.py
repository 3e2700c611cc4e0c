"""Two ways to compute the plan: batch SQL, and the streaming fold."""
