"""Three ways to compute the plan: batch SQL, the streaming fold, and Featuretools as reference."""
