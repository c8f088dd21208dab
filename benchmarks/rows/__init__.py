"""The rows: what is measured, in the order of the table. Each is a name and a function that gives figures."""
