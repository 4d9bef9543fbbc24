"""The exact engine: expected risk, first passage, tuning and schedules, without sampling."""
