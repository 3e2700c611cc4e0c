"""What every HTTP service needs: problem documents, an edge, health, metrics, a server that drains."""
