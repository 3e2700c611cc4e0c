"""The report: the latest scores, demand, users at risk and audiences on one page."""
