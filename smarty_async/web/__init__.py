"""What the before/after page and the embedded service's page share: assets, and the guard around an application."""
