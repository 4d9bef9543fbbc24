"""Files, tables and progress that several parts write."""
