"""What every process needs: settings and their command line, logs, signals, worker threads, durations, files."""
