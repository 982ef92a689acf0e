"""Many creates from one input: bounded, one outcome a record, and nothing that stops the others."""
