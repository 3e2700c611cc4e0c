"""The synthetic shop: its users, products and the processes that make events, with a known truth."""
