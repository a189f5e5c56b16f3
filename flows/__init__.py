"""The verbs: each flow reads as the order of its steps."""
