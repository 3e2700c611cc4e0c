"""What every process needs: settings, structured logs, durations, progress, whole files."""
