"""Numbers in, numbers out: scores, intervals, tests, calibration."""
