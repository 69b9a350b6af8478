"""A folder a method: config, rows, batch, losses, export. No method knows another."""
