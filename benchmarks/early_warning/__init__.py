"""Does anything warn before misconduct shows? AUROC, lead time and false alarms, beside what could embarrass the vectors."""
