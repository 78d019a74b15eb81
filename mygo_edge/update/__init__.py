"""How a device gets what was published: sources, download, installation, roll-back."""
