"""HTTP services: application, middleware, problem documents, health, metrics, a server that drains."""
