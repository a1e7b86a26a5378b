"""FDA's model of a worklist with one triage AI: `model` answers a scenario, `file` reads them."""
