"""Pictures for eyes: contact sheets, inspections, what slots looked at."""
