"""What every HTTP service needs: problem documents, metrics, health."""
