"""Reports: HTML pages that hold their plots and load nothing."""
