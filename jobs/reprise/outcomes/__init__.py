"""What users did after they were predicted, and whether what was predicted from was right."""
